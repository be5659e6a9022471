//! Web pages in the place of files: a login page of the network, a host's word that there is no such file.

use super::http::Answer;

/// Bytes of a body's beginning that are looked at.
pub(super) const HEAD: usize = 512;

/// What such a page means to a user.
pub(super) const MEANING: &str = "the server sent a web page instead of the file (a login page, of the network or of the host?); \
     open the address in a browser to see what it wants, then fetch again";

/// True where the server calls its answer a web page, and no web page is wanted.
pub(super) fn is_called_page(answer: &Answer, name: &str) -> bool {
    let kind = answer.headers.get("content-type").and_then(|v| v.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    is_unwanted(name) && ["text/html", "application/xhtml+xml"].iter().any(|h| kind.eq_ignore_ascii_case(h))
}

/// True where a body begins as web pages do, and no web page is wanted.
pub(super) fn is_page(head: &[u8], name: &str) -> bool {
    let head = String::from_utf8_lossy(&head[..head.len().min(HEAD)]).to_ascii_lowercase();
    let head = head.trim_start_matches('\u{feff}').trim_start();
    is_unwanted(name) && ["<!doctype html", "<html"].iter().any(|begin| head.starts_with(begin))
}

fn is_unwanted(name: &str) -> bool {
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    !["html", "htm", "xhtml"].iter().any(|e| ending.eq_ignore_ascii_case(e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_told_from_data() {
        for page in ["<!DOCTYPE html><html>", "\u{feff}\r\n <HTML lang=en>", "<!doctype HTML PUBLIC"] {
            assert!(is_page(page.as_bytes(), "en.json"), "{page}");
            assert!(!is_page(page.as_bytes(), "en.html"), "{page}");
        }
        for data in ["{\"a\": \"<html>\"}", "", "PK\x03\x04<html>", "<xml>", "<htm"] {
            assert!(!is_page(data.as_bytes(), "en.json"), "{data}");
        }
    }
}
