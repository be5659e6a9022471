//! Specs that come with the program, so that an installed binary has them too.

/// File name and TOML text of every preset in `experiments/`.
#[must_use]
pub fn presets() -> &'static [(&'static str, &'static str)] {
    &[
        ("demo.toml", include_str!("../../experiments/demo.toml")),
        ("check-xquadr.toml", include_str!("../../experiments/check-xquadr.toml")),
        ("demo-grid.toml", include_str!("../../experiments/demo-grid.toml")),
        ("alpha-grid.toml", include_str!("../../experiments/alpha-grid.toml")),
        ("ratio-simplex.toml", include_str!("../../experiments/ratio-simplex.toml")),
        ("adapters.toml", include_str!("../../experiments/adapters.toml")),
        ("robust.toml", include_str!("../../experiments/robust.toml")),
        ("attacks.toml", include_str!("../../experiments/attacks.toml")),
        ("scripts.toml", include_str!("../../experiments/scripts.toml")),
        ("domain-shift.toml", include_str!("../../experiments/domain-shift.toml")),
        ("paper-xlmr.toml", include_str!("../../experiments/paper-xlmr.toml")),
        ("paper-labse.toml", include_str!("../../experiments/paper-labse.toml")),
    ]
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_preset_is_a_valid_spec() {
        for (name, text) in super::presets() {
            crate::spec::parse(text, &[]).unwrap_or_else(|e| panic!("{name}: {e:#}"));
        }
    }
}
