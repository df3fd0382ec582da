//! The prose in the table of keys, for readers whose program does not render Markdown.

/// The prose with each link replaced by its text.
pub(super) fn plain(prose: &str) -> String {
    let mut plain = String::new();
    let mut rest = prose.trim();
    while let Some((before, link)) = rest.split_once('[') {
        plain.push_str(before);
        let linked = link.split_once("](").and_then(|(text, target)| {
            let (_, after) = target.split_once(')')?;
            (!text.contains(['[', '`'])).then_some((text, after))
        });
        if let Some((text, after)) = linked {
            plain.push_str(text);
            rest = after;
        } else {
            plain.push('[');
            rest = link;
        }
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn links_become_their_texts() {
        assert_eq!(
            plain(" A [label policy](scoped-queries.md): see `[a, b]`, [c]."),
            "A label policy: see `[a, b]`, [c]."
        );
        assert_eq!(
            plain("`[a]` and [own\n header](x)."),
            "`[a]` and own\n header."
        );
    }
}
