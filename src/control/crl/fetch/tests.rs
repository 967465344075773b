use super::super::fixture::answer_once;
use super::*;
use crate::dns::resolver::Settings;

/// Loopback is where these servers are; a configuration would have to say so too.
fn terms() -> Terms {
    let loopback = "127.0.0.0/8".parse().unwrap();
    let addresses = AddressRule { allow_networks: vec![loopback], ..AddressRule::default() };
    Terms { addresses, timeout_ms: 2_000, bytes_max: 1_000 }
}

fn fetch(url: &str, terms: &Terms) -> Result<Vec<u8>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let nobody = Settings {
            servers: vec!["127.0.0.1:1".parse().unwrap()],
            timeout_ms: 100,
            attempts: 1,
            ..Settings::default()
        };
        let resolver = Resolver::new(&nobody, 0).unwrap();
        get(&resolver, url, terms).await.map(|bytes| bytes.to_vec())
    })
}

/// What comes of a server that answers `text` and then holds the connection for a while.
fn answered(text: &str, terms: &Terms) -> Result<Vec<u8>, Failure> {
    let address = answer_once(text.as_bytes().to_vec(), Duration::from_millis(300));
    fetch(&format!("http://{address}/ca.crl?delta=0"), terms)
}

#[test]
fn a_list_comes_with_a_length_in_chunks_or_until_the_end() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlist",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nli\r\n2\r\nst\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\nlist",
    ] {
        assert_eq!(answered(answer, &terms()), Ok(b"list".to_vec()), "{answer}");
    }
}

#[test]
fn no_redirect_is_followed_and_no_other_status_counts() {
    let elsewhere = "HTTP/1.1 302 Found\r\nLocation: http://10.0.0.1/\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(answered(elsewhere, &terms()), Err(Failure::Redirected));
    let missing = "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone";
    assert_eq!(answered(missing, &terms()), Err(Failure::Status(404)));
    let empty = "HTTP/1.1 204 No Content\r\n\r\n";
    assert_eq!(answered(empty, &terms()), Err(Failure::Status(204)));
}

#[test]
fn a_list_that_is_too_large_is_given_up_announced_or_not() {
    let announced = "HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n";
    assert_eq!(answered(announced, &terms()), Err(Failure::TooLarge));
    let silent = format!("HTTP/1.0 200 OK\r\n\r\n{}", "x".repeat(1_001));
    assert_eq!(answered(&silent, &terms()), Err(Failure::TooLarge));
    let fits = format!("HTTP/1.0 200 OK\r\n\r\n{}", "x".repeat(1_000));
    assert_eq!(answered(&fits, &terms()).map(|bytes| bytes.len()), Ok(1_000));
}

#[test]
fn a_server_that_is_slow_or_speaks_no_http_or_breaks_off_is_given_up() {
    let hasty = Terms { timeout_ms: 100, ..terms() };
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nli";
    assert_eq!(answered(half, &hasty), Err(Failure::Timeout));
    assert!(matches!(answered(half, &terms()), Err(Failure::Broken(_))));
    assert!(matches!(answered("SSH-2.0-x\r\n", &terms()), Err(Failure::Broken(_))));
    let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(100_000));
    assert!(matches!(answered(&endless, &terms()), Err(Failure::Broken(_))));
}

#[test]
fn the_address_is_judged_however_it_was_learned() {
    let refuse = |url: &str, rule: AddressRule| {
        let outcome = fetch(url, &Terms { addresses: rule, ..terms() });
        matches!(outcome, Err(Failure::AddressRefused(_)))
    };
    for host in ["127.0.0.1", "10.0.0.1:8080", "[::1]", "[::ffff:192.168.0.1]", "169.254.169.254"] {
        assert!(refuse(&format!("http://{host}/ca.crl"), AddressRule::default()), "{host}");
    }
    let own = AddressRule { own: vec!["8.8.8.8".parse().unwrap()], ..AddressRule::default() };
    assert!(refuse("http://8.8.8.8/ca.crl", own));
}

#[test]
fn only_plain_http_without_user_and_with_a_host_is_a_place() {
    for url in [
        "https://crl.example/",
        "ldap://crl.example/",
        "http://user@crl.example/",
        "http:///ca.crl",
        "/ca.crl",
        "http://a b/",
        "",
    ] {
        assert_eq!(fetch(url, &terms()), Err(Failure::BadUrl), "{url}");
    }
    let place = Place::read("http://crl.example:8080/a?b=c").unwrap();
    assert_eq!((place.port, place.request().unwrap().uri().to_string()), (8080, "/a?b=c".into()));
    assert_eq!(Place::read("http://crl.example").unwrap().port, 80);
}

#[test]
fn a_place_nobody_answers_for_is_told_as_what_it_is() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let free = listener.local_addr().unwrap();
    drop(listener);
    let refused = fetch(&format!("http://{free}/"), &terms());
    assert!(matches!(refused, Err(Failure::Unreachable(_))), "{refused:?}");
    let unresolved = fetch("http://crl.fabrikam.example/", &terms());
    assert!(matches!(unresolved, Err(Failure::Unresolved(_))), "{unresolved:?}");
    let places: Vec<usize> = [
        Failure::BadUrl,
        Failure::Unresolved(dns::Failure::Timeout),
        Failure::AddressRefused(AddressRefusal::OwnListener([127, 0, 0, 1].into())),
        Failure::Unreachable(String::new()),
        Failure::Timeout,
        Failure::Redirected,
        Failure::Status(404),
        Failure::TooLarge,
        Failure::Broken(String::new()),
        Failure::List(ListFault::NotAList),
    ]
    .iter()
    .map(Failure::place)
    .collect();
    assert_eq!(places, (0..Failure::LABELS.len()).collect::<Vec<_>>());
}
