use super::*;
use crate::config::fixture::LEAST;
use crate::config::parse;

const TWO: &str = "\
[[edge]]
name = \"edge1.contoso.example\"
relayed = [\"198.51.100.12\"]
[[edge]]
name = \"edge2.contoso.example\"
relayed = [\"198.51.100.22\", \"2001:db8::22\"]
ports = [\"3480\", \"50000-54999\"]
listeners = [\"198.51.100.22:3478\"]
";

fn config() -> Config {
    let added = "[av]\nrelayed = [\"192.0.2.12\"]\nrelayed_public = [\"198.51.100.12\"]\n";
    let named = LEAST.replace("[edge]\n", "[edge]\nnode = \"edge1.contoso.example\"\n");
    parse(Path::new("e.toml"), &format!("{named}{added}")).unwrap()
}

fn read(text: &str) -> Result<Pool, Report> {
    Pool::parse(Path::new("pool.toml"), text, &config())
}

fn refused(text: &str) -> String {
    read(text).expect_err("must be refused").to_string()
}

#[test]
fn each_edge_has_addresses_and_ports_of_its_own() {
    let pool = read(TWO).unwrap();
    assert_eq!(pool.edges[0].ports, [50_000..=59_999], "as an edge has them by itself");
    assert_eq!(pool.edges[1].ports, [3_480..=3_480, 50_000..=54_999]);
    let name = Domain::parse(b"edge2.contoso.example").unwrap();
    assert_eq!(pool.edge(&name).map(|(place, _)| place), Some(1));
    assert_eq!(pool.source.whereabouts("edge[1].relayed"), "pool.toml:6");
}

#[test]
fn what_is_wrong_is_shown_with_file_line_and_what_is_allowed() {
    let text = TWO.replace("50000-54999", "54999-50000");
    assert_eq!(
        refused(&text),
        "\
error[config-malformed]: `54999-50000` is not a port range
 --> pool.toml:7:18
  |
7 | ports = [\"3480\", \"54999-50000\"]
  |                  ^^^^^^^^^^^^^ expected the lower port first

pool.toml: 1 problem; nothing was changed
"
    );
    for (from, to, told) in [
        ("3480", "0", "expected ports such as \"50000-54999\" or \"3480\", from 1 to 65535"),
        ("3480", "65536", "expected ports such as"),
        ("relayed =", "relayd =", "did you mean `relayed`?"),
        ("[[edge]]\nname = \"edge2", "[[edges]]\nname = \"edge2", "did you mean [[edge]]?"),
        ("198.51.100.22:3478", "198.51.100.22", "expected an address with a port"),
        ("\"198.51.100.22\"", "\"198.51.100.300\"", "expected an address without port"),
        ("name = \"edge2.contoso.example\"\n", "", "`edge[1]` needs `name`"),
    ] {
        let report = refused(&TWO.replacen(from, to, 1));
        assert!(report.contains(told), "{from}: {report}");
        assert!(report.contains("pool.toml:"), "{report}");
    }
}

#[test]
fn an_address_is_one_edges_alone_and_so_is_a_name() {
    let text = TWO.replace("198.51.100.22\", ", "198.51.100.12\", ");
    let report = refused(&text);
    assert!(report.contains("198.51.100.12 is a relayed address twice"), "{report}");
    assert!(report.contains("each relayed address is one edge's alone"), "{report}");
    let mapped = refused(&TWO.replace("198.51.100.22\", ", "::ffff:198.51.100.12\", "));
    assert!(mapped.contains("is a relayed address twice"), "{mapped}");
    let report = refused(&TWO.replace("edge2", "edge1"));
    assert!(report.contains("the edge edge1.contoso.example is listed twice"), "{report}");
    let report = refused(&TWO.replace("[\"198.51.100.12\"]", "[]"));
    assert!(report.contains("edge1.contoso.example has no address to relay by"), "{report}");
    let report = refused(&TWO.replace("198.51.100.12", "0.0.0.0"));
    assert!(report.contains("0.0.0.0 stands for every address"), "{report}");
    let report = refused(&TWO.replace("22:3478", "22:50007"));
    assert!(report.contains("198.51.100.22:50007 is a relayed port too"), "{report}");
    let none = refused("# nobody\n");
    assert!(none.contains("the file of the pool lists 0 edges"), "{none}");
    let many: String = (0..=limits::POOL_EDGES_MAX)
        .map(|n| format!("[[edge]]\nname = \"e{n}.example.net\"\nrelayed = [\"203.0.113.{n}\"]\n"))
        .collect();
    let many = refused(&many);
    assert!(many.contains("lists 65 edges"), "{many}");
    assert!(many.contains("expected 1 to 64"), "{many}");
}

#[test]
fn what_is_this_edges_is_not_said_of_another() {
    let report = refused(&TWO.replace("edge1", "edge3"));
    let told = "198.51.100.12 is a relayed address of this edge, which is edge1.contoso.example";
    assert!(report.contains(told), "{report}");
    let help = "name it edge1.contoso.example here, or set edge.node to edge3.contoso.example";
    assert!(report.contains(help), "{report}");
    let bound = refused(&TWO.replace("198.51.100.22\", ", "192.0.2.12\", "));
    assert!(bound.contains("192.0.2.12 is a relayed address of this edge"), "{bound}");
}
