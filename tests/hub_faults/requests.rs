//! Redirects, refusals, silence, proxies: what goes wrong between the program and a server.

use std::time::{Duration, Instant};

use crate::common::{signal, wait_for};
use crate::script::{Reply, Script, answer, file};
use crate::{FETCH, content, hub_case, part, plain_case, refuses};

/// Longer than any hopeless request may take, and far less than its repeats would (7.5 s of waits).
const SOON: Duration = Duration::from_secs(6);

fn redirect(to: &str) -> Reply {
    Reply::Bytes(answer(302, &format!("Location: {to}\r\n"), b""))
}

#[cfg(unix)]
#[test]
fn a_pause_is_heeded_while_the_server_is_silent() {
    let whole = content();
    for is_listing in [false, true] {
        let (case, sent) = (hub_case(), whole.clone());
        let stalled = move |head: &str| {
            let all = file(head, &sent);
            Reply::Stall(all[..all.len() - 100_000].to_vec())
        };
        let server = if is_listing {
            Script::start(|_| Reply::Stall(Vec::new()))
        } else {
            Script::hub(&[("en.json", &whole)], stalled)
        };
        let mut command = case.command(&FETCH, &[("HF_ENDPOINT", &server.url)]);
        let child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
        let is_there = || {
            if is_listing {
                return server.count("get /api/") > 0;
            }
            std::fs::metadata(part(&case, &whole)).is_ok_and(|m| m.len() == 200_000)
        };
        wait_for("the download", is_there);
        let begin = Instant::now();
        signal("-INT", child.id());
        let output = child.wait_with_output().unwrap();
        // Without heed it would be 30 s until the silence is given up.
        assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&output.stderr).contains("paused; what was downloaded is kept"));
        if !is_listing {
            assert_eq!(std::fs::metadata(part(&case, &whole)).unwrap().len(), 200_000);
        }
    }
}

#[test]
fn a_redirect_with_an_address_in_its_query_is_followed() {
    let (case, whole) = (hub_case(), content());
    let sent = whole.clone();
    let server = Script::hub(&[("en.json", &whole)], move |head| {
        if head.starts_with("get /blob/x?next=https://x.y/z ") {
            return Reply::Bytes(file(head, &sent));
        }
        redirect("/blob/x?next=https://x.y/z")
    });
    let output = case.run_with(&FETCH, &[("HF_ENDPOINT", &server.url)]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!((server.count("/resolve/"), server.count("/blob/")), (1, 1));
}

#[test]
fn a_storage_host_that_refuses_is_not_blamed_on_the_token() {
    let case = hub_case();
    let storage = Script::start(|_| Reply::Bytes(answer(403, "", b"expired")));
    let to = format!("{}/blob?Signature=signatureOfMine", storage.url);
    let server = Script::hub(&[("en.json", &content())], move |_| redirect(&to));
    let endpoint = server.url.replace("http://", "http://me:passwordOfMine@");
    let more = [("HF_ENDPOINT", endpoint.as_str()), ("HF_TOKEN", "hf_x")];
    let output = refuses(
        &case,
        &more,
        &[&format!("{}/blob?...: the server answered 403", storage.url), "storage host"],
    );
    assert!(!output.err.contains("token"), "{}", output.err);
    assert!(!output.err.contains("OfMine"), "{}", output.err);
    assert_eq!(storage.count("authorization"), 0);
}

#[test]
fn the_host_that_failed_after_a_redirect_is_named() {
    let case = hub_case();
    let server = Script::hub(&[("en.json", &content())], |_| redirect("http://127.0.0.1:9/y?Signature=mine"));
    let parts = [
        "sends us on to 127.0.0.1:9, and there: ",
        "a firewall may let the first host through, and 127.0.0.1:9 not",
    ];
    let output = refuses(&case, &[("HF_ENDPOINT", &server.url)], &parts);
    assert!(!output.err.contains("Signature"), "{}", output.err);
    let silent = Script::start(|_| Reply::Stall(Vec::new()));
    let to = format!("{}/y", silent.url);
    let server = Script::hub(&[("en.json", &content())], move |_| redirect(&to));
    let host = silent.url.trim_start_matches("http://");
    let told = format!("sends us on to {host}, and there: no answer for 1 s");
    refuses(&case, &[("HF_ENDPOINT", &server.url), ("HF_HUB_DOWNLOAD_TIMEOUT", "1")], &[&told]);
}

#[test]
fn a_copy_on_disk_serves_where_the_hub_is_slow_and_not_where_it_refuses() {
    let case = hub_case();
    case.hub.put("datasets/me/made", "en.json", &content());
    case.ok(&FETCH);
    for (status, is_used) in [(408, true), (503, true), (401, false), (403, false)] {
        let server = Script::start(move |_| Reply::Bytes(answer(status, "Retry-After: 0\r\n", b"")));
        let output = case.run_with(&FETCH, &[("HF_ENDPOINT", &server.url)]);
        assert_eq!(output.code == Some(0), is_used, "{status}: {}", output.err);
        assert_eq!(output.err.contains("the copy on disk is used"), is_used, "{status}: {}", output.err);
    }
}

#[test]
fn what_is_wrong_with_a_token_or_a_certificate_is_said_by_name() {
    let case = hub_case();
    let server = Script::start(|_| Reply::Bytes(answer(401, "", b"")));
    std::fs::write(case.dir().join("spaced"), "hf_a hf_b\n").unwrap();
    let file = |name: &str| case.dir().join(name).display().to_string();
    for (name, why) in
        [("none", "cannot be read"), ("hf", "cannot be read"), ("spaced", "a character that no token has")]
    {
        let path = file(name);
        std::fs::create_dir_all(case.dir().join("hf")).unwrap();
        let parts = ["no token was sent, as the file HF_TOKEN_PATH", path.as_str(), why, "correct that"];
        let output = refuses(&case, &[("HF_ENDPOINT", &server.url), ("HF_TOKEN_PATH", &path)], &parts);
        assert!(!output.err.contains("hf_a"), "{}", output.err);
    }
    let parts = ["SSL_CERT_FILE", "/nope", "correct SSL_CERT_FILE or unset it"];
    refuses(&case, &[("HF_ENDPOINT", &server.url), ("SSL_CERT_FILE", "/nope")], &parts);
}

#[test]
fn what_cannot_get_better_is_not_tried_again() {
    let case = hub_case();
    let whole = content();
    let circle = Script::hub(&[("en.json", &whole)], |_| redirect("/again"));
    let far = Script::hub(&[("en.json", &whole)], |_| redirect("ftp://me:passwordOfMine@host/x?sig=1"));
    let good = Script::hub(&[("en.json", &whole)], |_| redirect("/again"));
    let without_scheme = good.url.replace("http://", "me:passwordOfMine@");
    let secure = good.url.replace("http://", "https://");
    let broken = "hf_a\nhf_b";
    for (endpoint, token, parts) in [
        (&circle.url, "", ["more than 8 redirects", "in a circle"]),
        (&far.url, "", ["sends us to ftp://***@host/x?...", "no http or https address"]),
        (&without_scheme, "", ["HF_ENDPOINT=***@127.0.0.1", "set it to an address such as https://"]),
        (&secure, "", ["no secure connection", "is it http:// in truth?"]),
        (&good.url, broken, ["the token (from HF_TOKEN) has a character", "copy it again"]),
        (&good.url, "hf_ä", ["the token (from HF_TOKEN) has a character", "copy it again"]),
    ] {
        let begin = Instant::now();
        let output = refuses(&case, &[("HF_ENDPOINT", endpoint), ("HF_TOKEN", token)], &parts);
        assert!(begin.elapsed() < SOON, "{parts:?}: {:?}", begin.elapsed());
        for wrong in ["is the network up", "passwordOfMine", "hf_a", "hf_b", "hf_ä", "again in"] {
            assert!(!output.err.contains(wrong), "{wrong}: {}", output.err);
        }
    }
    assert_eq!(circle.count("get /again"), 8);
}

#[test]
fn a_status_has_the_remedy_that_fits_it() {
    let whole = content();
    for (status, tries, part, is_for_all) in [
        (429, 5, "or set HF_TOKEN, with which the hub allows more", false),
        (429, 5, "too many requests; fetch again in some minutes", true),
        (500, 5, "the hub has a fault or is overloaded; fetch again later, or name a mirror", false),
        (500, 5, "the server has a fault or is overloaded; fetch again later", true),
        (416, 1, "should send from the first byte", true),
        (418, 1, "it does not take this request", true),
        (408, 5, "it waited in vain for the request", true),
    ] {
        let refuse = move |_: &str| Reply::Bytes(answer(status, "Retry-After: 0\r\n", b""));
        let server = Script::hub(&[("en.json", &whole)], refuse);
        let case = hub_case();
        if is_for_all {
            case.own(&format!("{}url = \"{}/en.json\"\nfiles = [\"en.json\"]\n", crate::ENTRY, server.url));
        }
        let endpoint = if is_for_all { "http://127.0.0.1:9" } else { &server.url };
        let output = refuses(
            &case,
            &[("HF_ENDPOINT", endpoint)],
            &[&format!("/en.json: the server answered {status}"), part],
        );
        assert_eq!(server.count("en.json"), tries);
        assert!(!output.err.contains("is the network up"), "{}", output.err);
        assert!(!is_for_all || !output.err.contains("HF_"), "not the hub: {}", output.err);
    }
}

#[test]
fn requests_go_through_the_proxy_of_their_scheme() {
    let case = plain_case("en.json");
    case.hub.put_plain("en.json", b"{\"data\": []}");
    let proxy = Script::start(|_| Reply::Tunnel);
    let address = proxy.url.replace("http://", "http://me:passwordOfMine@");
    let none = case.dir().join("data");
    let mut connects = Vec::new();
    for variables in [
        [("HTTP_PROXY", address.as_str()), ("NO_PROXY", "example.org")],
        [("ALL_PROXY", &address), ("NO_PROXY", "")],
        [("HTTPS_PROXY", &address), ("NO_PROXY", "")],
        [("HTTP_PROXY", &address), ("NO_PROXY", "example.org, 127.0.0.0/8")],
    ] {
        proxy.forget();
        let more = [variables[0], variables[1], ("no_proxy", variables[1].1)];
        let output = case.run_with(&FETCH, &more);
        assert_eq!(output.code, Some(0), "{output:?}");
        connects.push(proxy.count("connect 127.0.0.1:"));
        // "me:passwordOfMine", in base 64 and, as all heads here, in small letters.
        assert_eq!(proxy.count("proxy-authorization: basic bwu6cgfzc3dvcmrpzk1pbmu="), proxy.seen().len());
        std::fs::remove_dir_all(&none).unwrap();
    }
    assert_eq!(connects, [1, 1, 0, 0], "http has its own proxy, and exempt hosts have none");
}

#[test]
fn a_proxy_that_fails_is_named_and_never_passed_by() {
    let case = plain_case("en.json");
    case.hub.put_plain("en.json", b"{\"data\": []}");
    let strict = Script::start(|_| Reply::Bytes(answer(407, "", b"")));
    let closed = Script::start(|_| Reply::Bytes(answer(403, "", b"")));
    let cut_off = Script::start(|_| Reply::Bytes(answer(502, "", b"")));
    let page = Script::start(|_| Reply::Bytes(crate::PAGE.to_vec()));
    let known = strict.url.replace("http://", "http://me:passwordOfMine@");
    for (proxy, parts) in [
        (
            "socks5://me:passwordOfMine@127.0.0.1:9",
            ["the proxy socks5://***@127.0.0.1:9 (from HTTP_PROXY)", "no SOCKS"],
        ),
        ("::::", ["(from HTTP_PROXY)", "no address of a proxy"]),
        (&strict.url, ["answered 407", "it wants a user and a password"]),
        (&known, ["answered 407", "it refuses the user and the password"]),
        (&cut_off.url, ["(from HTTP_PROXY) answered 502 (5 tries)", "it cannot reach the host"]),
        (&page.url, ["through the proxy http://127.0.0.1:", "is that the address of a proxy?"]),
        (&closed.url, ["answered 403", "exempt the host with NO_PROXY"]),
        (
            "http://me:passwordOfMine@127.0.0.1:9",
            ["through the proxy http://***@127.0.0.1:9 (from HTTP_PROXY)", "NO_PROXY"],
        ),
    ] {
        let output = refuses(&case, &[("HTTP_PROXY", proxy), ("NO_PROXY", ""), ("no_proxy", "")], &parts);
        assert!(
            !output.err.contains("passwordOfMine") && !output.err.contains("HF_ENDPOINT"),
            "{}",
            output.err
        );
    }
    assert_eq!(case.hub.seen().len(), 0, "nothing went past the proxy");
}
