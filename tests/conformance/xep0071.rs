//! XEP-0071: formatted text, and what a page of HTML becomes on its way to it.

use entente::edge::gateway::translate::content::{ContentFault, ContentType, words_of};
use entente::edge::gateway::translate::html::sanitised;
use entente::edge::gateway::translate::{Loss, document, ns, xhtml};
use entente::limits;
use entente::xmpp::{Content, Node};
use proptest::prelude::*;

fn clean(page: &str) -> String {
    let mut out = Vec::new();
    sanitised(page).value.write_within(ns::XHTML, &mut out);
    String::from_utf8(out).unwrap()
}

/// Fails if there is anything in the tree that is not on the list.
fn only_what_is_allowed(node: &Node) {
    assert!(xhtml::ELEMENTS.contains(&node.name()), "{}", node.name());
    assert_eq!(node.namespace(), ns::XHTML);
    for (name, value) in node.attributes() {
        assert!(xhtml::ATTRIBUTES.contains(&name), "{name}");
        let lower = value.to_ascii_lowercase();
        if name == "href" {
            let schemes = ["http:", "https:", "mailto:", "xmpp:", "sip:", "sips:", "im:", "tel:"];
            assert!(schemes.iter().any(|scheme| lower.starts_with(scheme)), "{value}");
        } else {
            assert!(!lower.contains(['(', '\\', '<', '&', '"', '@', '/']), "{value}");
        }
    }
    for content in &node.content {
        if let Content::Node(child) = content {
            only_what_is_allowed(child);
        }
    }
}

/// Whatever came in, what comes out is well formed, allowed, and says the same when read again.
fn holds(page: &str) {
    let first = sanitised(page).value;
    only_what_is_allowed(&first);
    let mut out = Vec::new();
    xhtml::wrapped(&first).write(&mut out);
    let read = document::read(&out).unwrap_or_else(|| panic!("not well formed: {page:?}"));
    assert_eq!(read.child("body", ns::XHTML), Some(&first), "{page:?}");
    // What is written for the SIP side is read by the same rules.
    let again = sanitised(&xhtml::to_html(&first)).value;
    only_what_is_allowed(&again);
    assert_eq!(xhtml::plain(&again), xhtml::plain(&first), "{page:?}");
}

#[test]
fn s7_formatting_that_both_sides_have_is_kept() {
    let rows = [
        ("<b>x</b><i>y</i>", "<body><strong>x</strong><em>y</em></body>"),
        ("<P>a<P>b", "<body><p>a</p><p>b</p></body>"),
        ("a<br>b<hr/>c", "<body>a<br/>b<br/>c</body>"),
        ("<ul><li>a<li>b</ul>", "<body><ul><li>a</li><li>b</li></ul></body>"),
        (
            "<a href=https://a.example/?x=1&amp;y=2>l</a>",
            "<body><a href='https://a.example/?x=1&amp;y=2'>l</a></body>",
        ),
        ("<FONT COLOR='#ff0000'>r</FONT>", "<body><span style='color: #ff0000'>r</span></body>"),
        (
            "<span style='font-size:10pt;font-family:Segoe UI,sans-serif'>x</span>",
            "<body><span style='font-size: 10pt; font-family: Segoe UI,sans-serif'>x</span></body>",
        ),
        ("<u>x</u>", "<body><span style='text-decoration: underline'>x</span></body>"),
        (
            "&lt;b&gt; &eacute &uuml;&#8364;&#128;&#x1F600;",
            "<body>&lt;b&gt; &amp;eacute ü€€😀</body>",
        ),
        ("1 < 2 <3", "<body>1 &lt; 2 &lt;3</body>"),
        ("<b><i>x</b>y</i>", "<body><strong><em>x</em></strong>y</body>"),
        (
            "<html><head><title>t</title><meta charset=x></head><body>hi</body></html>",
            "<body>hi</body>",
        ),
        ("<head><title>t</title><body>hi", "<body>hi</body>"),
    ];
    for (page, expected) in rows {
        assert_eq!(clean(page), expected, "{page}");
        holds(page);
    }
}

#[test]
fn s9_nothing_that_acts_comes_through() {
    let hostile = [
        "<script>alert(1)</script>x",
        "<ScRiPt src=//evil.example/x.js></sCrIpT>x",
        "<script>a</scripty>alert(1)</script>x",
        "<scr<script>ipt>alert(1)</script>x",
        "<img src=x onerror=alert(1)>",
        "<img src='https://evil.example/pixel.gif' alt='&lt;script>'>",
        "<svg onload=alert(1)><a xlink:href='javascript:alert(1)'>x</a></svg>",
        "<math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
        "<a href='javascript:alert(1)'>x</a>",
        "<a href='JaVaScRiPt:alert(1)'>x</a>",
        "<a href='java&#9;script:alert(1)'>x</a>",
        "<a href='java\nscript:alert(1)'>x</a>",
        "<a href='&#x6a;avascript:alert(1)'>x</a>",
        "<a href=' javascript:alert(1)'>x</a>",
        "<a href='\u{1}javascript:alert(1)'>x</a>",
        "<a href='data:text/html,x'>x</a>",
        "<a href='vbscript:x'>x</a>",
        "<a href='//evil.example'>x</a>",
        "<a href='file:///etc'>x</a>",
        "<a href='http:\u{2028}x'>x</a>",
        "<p style='background:url(javascript:alert(1))'>x",
        "<p style='width:expression(alert(1))'>x",
        "<p style='color:red;background-image:url(//evil.example)'>x",
        "<p style='color:\\72 ed'>x",
        "<p style='color:red/**/;behavior:url(x)'>x",
        "<p style='font-family:&quot;x&quot;'>x",
        "<div onclick='x' style=\"color: red\" class=x id=y>x</div>",
        "<iframe src='https://evil.example'></iframe>x",
        "<object data=x><embed src=y></object>x",
        "<form action=x><input value=y><button>z</button></form>",
        "<base href='//evil.example'>x",
        "<meta http-equiv=refresh content='0;url=//evil.example'>x",
        "<link rel=stylesheet href=x>x",
        "<!DOCTYPE x [<!ENTITY a 'b'>]>&a;",
        "<!--><script>x</script>-->y",
        "<!-- x",
        "<?xml x?>y",
        "<![CDATA[<script>x</script>]]>y",
        "<x:script xmlns:x='http://www.w3.org/1999/xhtml'>y",
        "&#0;&#xD800;&#x110000;&#xFFFE;&lt;script&gt;",
        "<",
        "</",
        "<a",
        "<a href",
        "<a href=",
        "<a href='",
        "<style>*{}</style>x",
        "<textarea></textarea><script>x</script>",
        "<noscript><p title='</noscript><img src=x>'>",
        "<template><script>x</script></template>y",
        "<plaintext>x",
        "<p\0>x",
        "\u{feff}\u{0}\u{8}x\u{7f}",
        "<title><a href='</title><script>x</script>'>",
        "<xmp><script>x</script></xmp>",
    ];
    for page in hostile {
        holds(page);
        let out = clean(page);
        for word in [
            "onerror",
            "onload",
            "onclick",
            "javascript",
            "vbscript",
            "url(",
            "expression(",
            "pixel.gif",
        ] {
            let attribute_or_tag = out
                .split('>')
                .any(|t| t.split_once('<').is_some_and(|(_, tag)| tag.contains(word)));
            assert!(!attribute_or_tag, "{page} -> {out}");
        }
    }
    let quoted = clean("<a href=\"https://a.example/'onclick='x\">x</a>");
    assert_eq!(quoted, "<body><a href='https://a.example/&apos;onclick=&apos;x'>x</a></body>");
    assert_eq!(clean("<script>alert(1)</script>x"), "<body>x</body>");
    assert!(sanitised("<script>x</script>").losses.has(Loss::ActiveContent));
    assert!(sanitised("<a href='javascript:x'>x</a>").losses.has(Loss::Link));
    assert!(sanitised("<img src=x>").losses.has(Loss::EmbeddedObject));
    assert_eq!(clean("<img alt='a cat' src=x>"), "<body>a cat</body>");
}

#[test]
fn depth_number_and_length_are_bounded_and_words_stay() {
    let deep = format!("{}x{}", "<b>".repeat(100_000), "</b>".repeat(100_000));
    let out = sanitised(&deep);
    assert!(out.losses.has(Loss::Structure));
    assert_eq!(xhtml::plain(&out.value), "x");
    holds(&"<ul><li>".repeat(10_000));
    holds(&"<p><i>x</i>".repeat(10_000));
    let long = sanitised(&"é".repeat(limits::GATEWAY_TEXT_BYTES_MAX));
    assert!(long.losses.has(Loss::Length));
    assert!(xhtml::plain(&long.value).len() <= limits::GATEWAY_TEXT_BYTES_MAX);
    // The largest that can come out fits a stanza beside its plain words.
    let link =
        format!("<a href='https://a.example/{}'>{}</a>", "&amp;".repeat(500), "&amp;".repeat(50));
    let mut out = Vec::new();
    sanitised(&link.repeat(1000)).value.write(&mut out);
    let plain = 5 * limits::GATEWAY_TEXT_BYTES_MAX;
    assert!(out.len() + plain < limits::XMPP_STANZA_BYTES_MAX as usize, "{}", out.len());
}

#[test]
fn s8_the_plain_words_say_what_the_formatted_ones_do() {
    let plain = |page: &str| xhtml::plain(&sanitised(page).value);
    assert_eq!(plain("<p>a  b\r\n c</p><p>d</p>"), "a b c\nd");
    assert_eq!(plain("a<br>b"), "a\nb");
    assert_eq!(plain("<ul><li>a</li><li>b</li></ul>"), "- a\n- b");
    assert_eq!(plain("<a href='https://a.example/'>here</a>"), "here (https://a.example/)");
    assert_eq!(plain("<a href='https://a.example/'>https://a.example/</a>"), "https://a.example/");
    assert_eq!(plain("a&nbsp;b"), "a b");
}

#[test]
fn s7_formatted_text_of_a_stanza_is_sanitised_like_a_page() {
    let stanza = document::read(
        b"<message xmlns='jabber:server'><body>hi</body>\
          <html xmlns='http://jabber.org/protocol/xhtml-im'>\
              <body xmlns='http://www.w3.org/1999/xhtml'>\
          <p style='color:red' onclick='x'>hi <script>x</script><b xmlns='urn:x'>there</b>\
          <a href='javascript:x'>l</a></p></body></html></message>",
    );
    let rich = xhtml::of_stanza(&stanza.unwrap()).unwrap();
    only_what_is_allowed(&rich.value);
    assert_eq!(
        xhtml::to_html(&rich.value),
        "<html><body><p style=\"color: red\">hi therel</p></body></html>"
    );
    assert!(rich.losses.has(Loss::ActiveContent) && rich.losses.has(Loss::Link));
}

#[test]
fn html_by_its_charset_and_nothing_else() {
    let read = |content_type: &[u8], body: &[u8]| words_of(&ContentType::read(content_type), body);
    let words = read(b"text/html; charset=\"ISO-8859-1\"", b"<b>\xfc\x80</b>").unwrap().value;
    assert_eq!(words.plain, "ü€");
    assert!(words.rich.is_some());
    assert_eq!(read(b"text/html;charset=utf-16", b"x"), Err(ContentFault::Charset));
    assert_eq!(read(b"image/gif", b"x"), Err(ContentFault::MediaType));
    assert!(read(b"Text/HTML", b"<p>x</p>").unwrap().value.rich.is_none());
    let large = vec![b'x'; limits::GATEWAY_BODY_BYTES_MAX + 1];
    assert_eq!(read(b"text/html", &large), Err(ContentFault::TooLarge));
}

proptest! {
    #[test]
    fn whatever_a_page_is_only_allowed_names_come_out(page in "\\PC{0,200}") {
        holds(&page);
    }

    #[test]
    fn tags_in_any_order_give_a_tree_of_allowed_names(
        pieces in proptest::collection::vec(proptest::sample::select(vec![
            "<p>", "</p>", "<b>", "</b>", "<ul>", "<li>", "</ul>", "</li>", "<a href='https://x/'>",
            "</a>", "<script>", "</script>", "<!--", "-->", "<svg>", "\
                </svg>", "x", " ", "&amp;", "<br>",
            "<blockquote>", "</blockquote>", "<u style='color:red", "'>", "<td>", "\"", "&#", "\
                <head>",
            "<body>", "<ol>", "<i/>", "<h1>", "</h1>", "\0", "é", "]]>", "<font color=", "url(x)",
        ]), 0..40),
    ) {
        holds(&pieces.concat());
    }
}
