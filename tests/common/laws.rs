//! What must hold whatever the input is, told a second time and in another way than the gate does
//! it. Random tests and the fuzzers share it.
#![allow(clippy::panic, clippy::unwrap_used, dead_code)]

use scopegate::authz::endpoint::Endpoint;
use scopegate::scoping::query::{Failure, Language, Matcher, Scoped, Shape, scope};
use scopegate::scoping::scope::{Attributes, LabelName, LabelValue, LabelValues, Scope};
use scopegate::words::refusal::Rule;

/// What a law says of an input.
pub type Verdict = Result<(), String>;

/// All that must hold of what the gate makes of a query, whatever the query.
pub fn is_scoped_soundly(
    language: Language,
    shape: Shape,
    text: &str,
    matcher: &Matcher,
) -> Verdict {
    let scoped = match scope(language, shape, text, matcher) {
        Ok(scoped) => scoped,
        Err(Failure::Unsound) => return Err("unsound".into()),
        Err(Failure::Refused(refusal)) if text.is_char_boundary(refusal.at) => return Ok(()),
        Err(Failure::Refused(refusal)) => return Err(format!("no such place: {refusal}")),
    };
    if without_insertions(&scoped) != text {
        return Err(format!("more than inserted: {}", scoped.text));
    }
    let written = scoped.text.matches(matcher.as_str()).count();
    if written < scoped.selectors {
        return Err(format!("{written} matchers: {}", scoped.text));
    }
    if shape == Shape::Selector && scoped.selectors != 1 {
        return Err(format!("not one selector: {}", scoped.text));
    }
    // What has been scoped can be scoped again, and has the selectors that it had.
    let again = if shape == Shape::Pipeline {
        Shape::Query
    } else {
        shape
    };
    match scope(language, again, &scoped.text, matcher) {
        Ok(twice) if twice.selectors == scoped.selectors => Ok(()),
        Ok(twice) => Err(format!("other selectors: {}", twice.text)),
        Err(Failure::Refused(refusal))
            if refusal.rule == Rule::Length && language == Language::TraceQl =>
        {
            Ok(())
        }
        Err(failure) => Err(format!("not again: {failure:?} of {}", scoped.text)),
    }
}

/// The text without what was inserted.
fn without_insertions(scoped: &Scoped) -> String {
    let mut rest = scoped.text.clone();
    for insertion in scoped.insertions.iter().rev() {
        rest.replace_range(insertion.clone(), "");
    }
    rest
}

/// A label with one value, and two labels one of which has several.
pub fn matchers(language: Language) -> [Matcher; 2] {
    let scopes: [&[(&str, &[&str])]; 2] = [
        &[("rid", &["r1"])],
        &[("namespace", &["web", r#"a"}\.b"#]), ("rid", &["r1"])],
    ];
    scopes.map(|rules| {
        let scope = Scope::new(rules.iter().map(|(label, values)| {
            let values: LabelValues = values
                .iter()
                .map(|value| LabelValue::parse(value).unwrap())
                .collect();
            (LabelName::parse(label).unwrap(), values)
        }));
        Matcher::new(language, &scope.unwrap(), &Attributes::default())
    })
}

/// A law that holds, or what is wrong.
pub fn is(holds: bool, what: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(what()) }
}

/// What a second parser makes of a path that was accepted: the same row.
pub fn is_path_of(row: &Endpoint, path: &[u8]) -> Verdict {
    let ours: Vec<&[u8]> = row
        .template
        .as_bytes()
        .split(|byte| *byte == b'/')
        .collect();
    let theirs: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    is(ours.len() == theirs.len(), || "its length differs".into())?;
    for (template, segment) in ours.iter().zip(&theirs) {
        if !template.starts_with(b"{") {
            is(template == segment, || format!("not {template:?}"))?;
            continue;
        }
        let text = std::str::from_utf8(segment).map_err(|_| "raw paths are ASCII")?;
        let wrong = || format!("{text:?} in {}", row.template);
        is(!text.is_empty() && text.is_ascii(), wrong)?;
        let separators = [';', '\\', '#', '?', '{', '}', '"', '<', '>', ' '];
        is(!text.contains(separators), wrong)?;
        is(!text.bytes().any(|byte| byte.is_ascii_control()), wrong)?;
        let lower = text.to_ascii_lowercase();
        let any = template.ends_with(b"%}");
        let slashes = any || template.ends_with(b"%2F}");
        is(slashes || !lower.contains("%2f"), wrong)?;
        for escape in ["%5c", "%25", "%3b"] {
            is(any || !lower.contains(escape), wrong)?;
        }
        for escape in ["%2e", "%0", "%1", "%7f"] {
            is(!lower.contains(escape), wrong)?;
        }
        let decoded = lower.replace("%2f", "/");
        let dots = |part: &str| part == "." || part == "..";
        is(!decoded.split('/').any(dots), wrong)?;
        is(!decoded.contains("//"), wrong)?;
    }
    Ok(())
}

/// Bytes by base64url without padding (RFC 4648 §5), whose unused bits are zero.
pub fn unb64url(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let (mut bits, mut held) = (0_u32, 0);
    for character in text {
        let value = match character {
            b'A'..=b'Z' => character - b'A',
            b'a'..=b'z' => character - b'a' + 26,
            b'0'..=b'9' => character - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held).ok()?);
            bits &= (1 << held) - 1;
        }
    }
    // Six bits more would be a character too many.
    (held < 6 && bits == 0).then_some(bytes)
}
