//! Narrative is shown in browsers, so it stays within FHIR's subset of XHTML (R4 narrative.html) or is left out.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

const ELEMENTS: &str = "a abbr acronym address area b bdo big blockquote br caption cite code col colgroup dd del dfn div dl dt em h1 h2 h3 h4 \
    h5 h6 hr i img ins kbd li map ol p pre q s samp small span strong sub sup table tbody td tfoot th thead tr tt ul var";
const ATTRIBUTES: &str = "abbr accesskey align alt axis border cellhalign cellpadding cellspacing cellvalign char charoff charset class colspan \
    dir frame headers height id lang name rel rev rowspan rules scope span summary tabindex title valign width xml:lang";
const SCHEMES: [&str; 7] = ["#", "http:", "https:", "mailto:", "tel:", "data:image/", "binary/"];
const XHTML: &str = "http://www.w3.org/1999/xhtml";
/// Nesting of a narrative.
const DEPTH_MAX: usize = 64;

/// Whether a `div` may be shown: well formed, of these elements and attributes alone, and leading to no script.
pub fn is_safe(div: &str) -> bool {
    let mut reader = Reader::from_str(div);
    let (mut depth, mut roots) = (0_usize, 0);
    loop {
        match reader.read_event() {
            Ok(Event::Start(start)) => {
                roots += usize::from(depth == 0);
                depth += 1;
                if depth > DEPTH_MAX || !fits(&start, depth == 1) {
                    return false;
                }
            }
            Ok(Event::Empty(start)) => {
                roots += usize::from(depth == 0);
                if !fits(&start, depth == 0) {
                    return false;
                }
            }
            Ok(Event::End(_)) => depth = depth.saturating_sub(1),
            Ok(Event::Text(text)) if depth == 0 && !text.trim().is_empty() => return false,
            Ok(Event::Text(_) | Event::GeneralRef(_) | Event::Comment(_)) => {}
            Ok(Event::Eof) => return depth == 0 && roots == 1,
            // Declarations, DTDs, processing instructions and CDATA have no place in it.
            Ok(_) | Err(_) => return false,
        }
    }
}

fn fits(start: &BytesStart<'_>, is_root: bool) -> bool {
    let name = start.name();
    let name: &str = name.as_ref();
    if !ELEMENTS.split(' ').any(|known| known == name) || (is_root && name != "div") {
        return false;
    }
    start.attributes().all(|attribute| {
        let Ok(attribute) = attribute else { return false };
        let value: String = attribute.value.chars().filter(|char| !char.is_whitespace() && !char.is_control()).collect();
        let value = value.to_ascii_lowercase();
        match attribute.key.as_ref() {
            // Entities could spell a scheme that is not seen here.
            "href" | "src" | "cite" | "longdesc" => {
                !value.contains(['&', '<']) && !value.starts_with("data:image/svg") && SCHEMES.iter().any(|start| value.starts_with(start))
            }
            "style" => ["url(", "expression", "@import", "\\", "&#"].iter().all(|part| !value.contains(part)),
            "xmlns" => value == XHTML,
            other => ATTRIBUTES.split(' ').any(|known| known == other),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrative_stays_within_its_subset() {
        for div in [
            r#"<div xmlns="http://www.w3.org/1999/xhtml"><p class="x">A &amp; B<br/></p><table border="1"><tr><td colspan="2">1</td></tr></table></div>"#,
            r##"<div xmlns="http://www.w3.org/1999/xhtml"><a href="#note">note</a><img src="data:image/png;base64,AA==" alt="x"/></div>"##,
            "<div/>",
        ] {
            assert!(is_safe(div), "{div}");
        }
        for div in [
            "<div><script>alert(1)</script></div>",
            "<div><p onclick='x()'>a</p></div>",
            "<div><a href='javascript:x()'>a</a></div>",
            "<div><a href=' java\nscript:x()'>a</a></div>",
            "<div><a href='&#106;avascript:x()'>a</a></div>",
            "<div><img src='//elsewhere/x'/></div>",
            "<div style='background:url(x)'/>",
            "<div><iframe/></div>",
            "<div><form/></div>",
            "<div><p>a</div>",
            "<div>",
            "<div/><div/>",
            "<p/>",
            "text",
            "",
            "<!DOCTYPE div><div/>",
            "<div><![CDATA[<script>]]></div>",
            "<div xmlns='urn:x'/>",
        ] {
            assert!(!is_safe(div), "{div}");
        }
    }
}
