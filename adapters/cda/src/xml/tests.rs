use super::*;

fn read(text: &str) -> Tree {
    Tree::read(text.to_owned()).unwrap_or_else(|issue| panic!("{text}: {issue}"))
}

#[test]
fn what_is_not_well_formed_is_refused_with_a_place() {
    let deep = "<a>".repeat(DEPTH_MAX + 1) + &"</a>".repeat(DEPTH_MAX + 1);
    let wide = format!("<a {}/>", (0..=ELEMENT_ATTRIBUTES_MAX).map(|at| format!("a{at}='' ")).collect::<String>());
    let long = format!("<a>{}</a>", "<b/>".repeat(ITEMS_MAX));
    for (text, place, reason) in [
        ("", "byte 0", "no element"),
        ("text", "byte 0", "outside the root"),
        ("<a>", "byte 3", "ends within"),
        ("<a><b></b>", "byte 10", "ends within"),
        ("<a></b>", "byte 3", "well-formed"),
        ("</a>", "byte 0", "well-formed"),
        ("<a/><b/>", "byte 4", "second root"),
        ("<a/>text", "byte 4", "outside the root"),
        ("<!DOCTYPE a><a/>", "byte 0", "document type"),
        ("<!DOCTYPE a [<!ENTITY e 'x'>]><a>&e;</a>", "byte 0", "document type"),
        ("<a>&undef;</a>", "byte 3", "five"),
        ("<a x='&undef;'/>", "byte 0", "five"),
        ("<a>&#0;</a>", "byte 3", "five"),
        ("<a>&#x1;</a>", "byte 3", "does not allow"),
        ("<a>\u{1}</a>", "byte 3", "does not allow"),
        ("<a x='\u{1}'/>", "byte 0", "does not allow"),
        ("<a x='<'/>", "byte 0", "does not allow"),
        ("<a>x & y</a>", "byte 5", "well-formed"),
        ("<1a/>", "byte 0", "name"),
        ("<a><:b/></a>", "byte 3", "name"),
        ("<p:a/>", "byte 0", "not bound"),
        ("<a p:x=''/>", "byte 0", "not bound"),
        ("<a xmlns:p=''/>", "byte 0", "bound to nothing"),
        ("<a x='1' x='2'/>", "byte 0", "twice"),
        ("<a xmlns:p='u' xmlns:q='u' p:x='' q:x=''/>", "byte 0", "twice"),
        ("<a/><?xml version='1.0'?>", "byte 4", "declaration"),
        ("<?xml version='1.0' encoding='klingon'?><a/>", "byte 0", "encoding"),
        (&deep, "byte 300", "deep"),
        (&wide, "byte 0", "attributes"),
        (&long, "", "too many elements"),
    ] {
        let issue = Tree::read(text.to_owned()).err().unwrap_or_else(|| panic!("accepted: {text:.80}"));
        assert!(issue.reason.contains(reason), "{text:.80}: {issue}");
        assert!(place.is_empty() || issue.place == place, "{text:.80}: {issue}");
    }
}

#[test]
fn names_are_resolved_by_scope() {
    let tree = read("<a xmlns='u' xmlns:p='v'><p:b x='1' p:x='2'/><c xmlns='w'><p:d xmlns:p='z'/></c><e xmlns=''/><p:f/></a>");
    let names: Vec<String> = (0..6).map(|item| tree.name(item).unwrap()).map(|name| format!("{{{}}}{}", name.space, name.local)).collect();
    assert_eq!(names, ["{u}a", "{v}b", "{w}c", "{z}d", "{}e", "{v}f"]);
    assert_eq!(tree.attribute(1, "x"), Some("1"));
    assert_eq!(tree.find_attribute(1, "v", "x").map(|attribute| tree.attribute_value(attribute)), Some("2"));
}

#[test]
fn texts_and_values_are_resolved() {
    let tree = read(
        "<?xml version='1.0'?><!-- c --><a x=' &lt;1&#x41;\n'> one &amp; <![CDATA[<two>]]>&#233;\r\n<b>three</b><!-- c -->four<br/>five</a>\n",
    );
    assert_eq!(tree.attribute(0, "x"), Some(" <1A "));
    assert_eq!(tree.text(0), "one & <two>é three four five");
    assert_eq!(tree.children(0).count(), 5);
    let value = tree.attribute_span(0);
    assert_eq!(&tree.source[value.start as usize..value.end as usize], " &lt;1&#x41;\n");
}

#[test]
fn places_count_where_there_are_several() {
    let tree = read("<a><b/><c/><b><d/></b></a>");
    let places: Vec<String> = (0..5).map(|item| tree.place(item)).collect();
    assert_eq!(places, ["/a", "/a/b[1]", "/a/c", "/a/b[2]", "/a/b[2]/d"]);
}

#[test]
fn encodings_by_mark_then_declaration() {
    let wide = |text: &str, big: bool| -> Vec<u8> {
        text.encode_utf16().flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
    };
    let latin = |name: &str| [format!("<?xml version='1.0' encoding='{name}'?><a>Zo").as_bytes(), b"\xEB</a>"].concat();
    let utf16 = "<?xml version=\"1.0\" encoding=\"utf-16\"?><a>Zoë</a>";
    for bytes in [
        "<a>Zoë</a>".as_bytes().to_vec(),
        "\u{feff}<a>Zoë</a>".as_bytes().to_vec(),
        latin("ISO-8859-1"),
        latin("windows-1252"),
        wide(utf16, false),
        wide(utf16, true),
        [&[0xFF, 0xFE], &*wide(utf16, false)].concat(),
        [&[0xFE, 0xFF], &*wide(utf16, true)].concat(),
        utf16.as_bytes().to_vec(),
    ] {
        let tree = Tree::read(bytes).unwrap_or_else(|issue| panic!("{issue}"));
        assert_eq!((tree.text(0).as_str(), tree.issues.len()), ("Zoë", 0));
    }
    let damaged = Tree::read(&b"<a>Zo\xEB</a>"[..]).unwrap_or_else(|issue| panic!("{issue}"));
    assert_eq!((damaged.text(0).as_str(), damaged.issues.len()), ("Zo\u{FFFD}", 1));
}

#[test]
fn an_element_alone_keeps_its_namespaces() {
    let tree = read("<s xmlns='u' xmlns:p='v' xmlns:q='w'><a xmlns='x' q:t='1'><p:b/></a></s>");
    let alone = tree.alone(1);
    assert_eq!(alone, "<a xmlns:p=\"v\" xmlns:q=\"w\" xmlns='x' q:t='1'><p:b/></a>");
    let again = read(&alone);
    assert_eq!((again.name(0), again.name(1)), (tree.name(1), tree.name(2)));
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(text in "(<|>|/|a|b|&amp;|&|;|'|\"|=| |x='1'|<a>|</a>|<b/>|<!--|-->|<!\\[CDATA\\[|\\]\\]>|<\\?|\\?>|é){0,40}") {
        for text in [text.clone(), format!("<a>{text}</a>")] {
            if let Ok(tree) = Tree::read(text.to_owned()) {
                tree.text(0);
                tree.place(0);
            }
        }
    }
}
