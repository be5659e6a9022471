//! The corpus' tables, bundled: a table that is not listed here does not exist for the program.

/// Paths below `assets/demo`, with the contents.
macro_rules! bundle {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../../assets/demo/", $path)))),*]
    };
}

/// Path below `assets/demo` and contents. The order of the relations is the order of the corpus.
pub const FILES: &[(&str, &str)] = bundle![
    "entities/animal_active_times.tsv",
    "entities/animal_classes.tsv",
    "entities/animal_coverings.tsv",
    "entities/animal_diets.tsv",
    "entities/animal_foods.tsv",
    "entities/animal_habitats.tsv",
    "entities/animal_homelands.tsv",
    "entities/animal_reproduction.tsv",
    "entities/animals.tsv",
    "entities/astronomers.tsv",
    "entities/calendar_seasons.tsv",
    "entities/cities.tsv",
    "entities/cities_of_the_world.tsv",
    "entities/colours.tsv",
    "entities/constellations.tsv",
    "entities/continents.tsv",
    "entities/countries.tsv",
    "entities/currencies.tsv",
    "entities/desert_types.tsv",
    "entities/deserts.tsv",
    "entities/driving_sides.tsv",
    "entities/element_categories.tsv",
    "entities/element_states.tsv",
    "entities/elements.tsv",
    "entities/instrument_families.tsv",
    "entities/instrument_origins.tsv",
    "entities/instrument_techniques.tsv",
    "entities/instruments.tsv",
    "entities/islands.tsv",
    "entities/lakes.tsv",
    "entities/landmarks.tsv",
    "entities/language_directions.tsv",
    "entities/language_families.tsv",
    "entities/language_genders.tsv",
    "entities/language_word_orders.tsv",
    "entities/languages.tsv",
    "entities/languages_of_states.tsv",
    "entities/months.tsv",
    "entities/moons.tsv",
    "entities/mountain_ranges.tsv",
    "entities/mountains.tsv",
    "entities/planet_types.tsv",
    "entities/planets.tsv",
    "entities/plant_foliage.tsv",
    "entities/plant_growth_forms.tsv",
    "entities/plant_origins.tsv",
    "entities/plant_parts.tsv",
    "entities/plant_types.tsv",
    "entities/plants.tsv",
    "entities/product_types.tsv",
    "entities/products.tsv",
    "entities/raw_materials.tsv",
    "entities/rivers.tsv",
    "entities/scripts.tsv",
    "entities/seas.tsv",
    "entities/sport_equipment.tsv",
    "entities/sport_modes.tsv",
    "entities/sport_olympics.tsv",
    "entities/sport_venues.tsv",
    "entities/sports.tsv",
    "entities/stars.tsv",
    "entities/weekdays.tsv",
    "facts/animals.tsv",
    "facts/cities_of_the_world.tsv",
    "facts/constellations.tsv",
    "facts/countries.tsv",
    "facts/deserts.tsv",
    "facts/elements.tsv",
    "facts/instruments.tsv",
    "facts/islands.tsv",
    "facts/lakes.tsv",
    "facts/landmarks.tsv",
    "facts/languages.tsv",
    "facts/months.tsv",
    "facts/moons.tsv",
    "facts/mountains.tsv",
    "facts/planets.tsv",
    "facts/plants.tsv",
    "facts/products.tsv",
    "facts/rivers.tsv",
    "facts/sports.tsv",
    "facts/stars.tsv",
    "facts/weekdays.tsv",
    "relations/animals.toml",
    "relations/astronomy.toml",
    "relations/calendar.toml",
    "relations/chemistry.toml",
    "relations/cities.toml",
    "relations/countries.toml",
    "relations/deserts.toml",
    "relations/lakes_islands.toml",
    "relations/landmarks.toml",
    "relations/languages.toml",
    "relations/materials.toml",
    "relations/mountains.toml",
    "relations/music.toml",
    "relations/plants.toml",
    "relations/rivers.toml",
    "relations/sports.toml",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::FILES;

    #[test]
    fn every_table_is_bundled() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/demo");
        let mut there = BTreeSet::new();
        for folder in ["entities", "facts", "relations"] {
            for entry in std::fs::read_dir(root.join(folder)).expect(folder) {
                let name = entry.expect(folder).file_name().into_string().expect("UTF-8");
                there.insert(format!("{folder}/{name}"));
            }
        }
        let bundled: BTreeSet<String> = FILES.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(there, bundled, "list new tables in src/corpus/demo/files.rs");
        assert_eq!(bundled.len(), FILES.len(), "a table is listed twice");
    }
}
