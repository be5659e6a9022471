//! Which files of a repository are meant, and which were perhaps meant.

/// True where the path fits the pattern; `*` stands for any characters but `/`.
#[must_use]
pub fn matches(pattern: &str, path: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| path.strip_prefix(first)) else { return false };
    let Some(last) = pattern.rsplit('*').next().filter(|_| pattern.contains('*')) else {
        return rest.is_empty();
    };
    let middle: Vec<&str> = parts.collect();
    for part in &middle[..middle.len() - 1] {
        match rest.find(part).filter(|at| !rest[..*at].contains('/')) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.strip_suffix(last).is_some_and(|between| !between.contains('/'))
}

/// The names that are spelt most like this one, at most three, nearest first.
#[must_use]
pub fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let wanted = name.to_lowercase();
    let mut found: Vec<(usize, &str)> =
        names.into_iter().map(|n| (distance(&wanted, &n.to_lowercase()), n)).collect();
    found.sort_unstable();
    let most = name.chars().count().max(4) * 2 / 3;
    found.into_iter().filter(|(d, _)| *d <= most).map(|(_, n)| n).take(3).collect()
}

/// Levenshtein's edit distance in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stay_within_a_folder() {
        for (pattern, path, fits) in [
            ("config.json", "config.json", true),
            ("config.json", "config.json.bak", false),
            ("*.json", "a.json", true),
            ("*.json", "a/b.json", false),
            ("*/config.json", "1_Pooling/config.json", true),
            ("docs-*.jsonl.gz", "docs-12.jsonl.gz", true),
            ("docs-*.jsonl.gz", "docs-.jsonl", false),
            ("model-*-of-*.safetensors", "model-1-of-2.safetensors", true),
            ("model-*-of-*.safetensors", "model-1.safetensors", false),
            ("a*a", "a", false),
            ("*", "x", true),
        ] {
            assert_eq!(matches(pattern, path), fits, "{pattern} {path}");
        }
    }

    #[test]
    fn misspelt_names_are_found() {
        assert_eq!(distance("kitten", "sitting"), 3);
        let names = ["config.json", "tokenizer.json", "README.md"];
        assert_eq!(nearest("confg.json", names), ["config.json"]);
        assert!(nearest("zzzz", names).is_empty());
    }
}
