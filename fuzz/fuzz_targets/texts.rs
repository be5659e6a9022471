//! Parsers of texts: dataset names with their settings, language codes, specs, compressed files.
#![no_main]

use libfuzzer_sys::fuzz_target;
use polymix_fuzz::corpus::{Options, language, read};
use polymix_fuzz::spec::{self, DatasetRef};

fuzz_target!(|data: &[u8]| {
    let Some((kind, rest)) = data.split_first() else { return };
    if kind % 4 == 0 {
        let path = std::path::PathBuf::from(format!("/dev/shm/polymix-fuzz-file-{}", std::process::id()));
        std::fs::write(&path, rest).expect("/dev/shm");
        let _ = read::lines(&path, |_, _| Ok(()));
        let _ = read::text(&path);
        return;
    }
    let Ok(text) = std::str::from_utf8(rest) else { return };
    match kind % 4 {
        1 => {
            if let Ok(dataset) = text.parse::<DatasetRef>() {
                assert_eq!(dataset.to_string().parse::<DatasetRef>().as_ref(), Ok(&dataset));
                if let Ok(options) = Options::parse(&dataset) {
                    let _ = (
                        options.part("a", &[]),
                        options.languages(),
                        options.number("n", 1),
                        options.finish(true),
                    );
                }
            }
        }
        2 => {
            let once = language::normalise(text);
            assert_eq!(language::normalise(&once), once);
            let _ = language::of_path(std::path::Path::new(text), std::path::Path::new(""));
        }
        _ => {
            let _ = spec::parse(text, &[]);
            let _ = spec::parse("", &[text.to_owned()]);
        }
    }
});
