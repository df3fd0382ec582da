//! Issuers that differ from what their provider writes by a slash at the end.

use super::diagnostic::Diagnostics;
use super::fault::Fault;
use super::found::Document;
use super::place;
use super::tree::Node;

/// Warns of an issuer of a well-known provider that ends with a slash where the provider writes
/// none, or lacks one where the provider writes it. Issuers are compared byte for byte, so every
/// token would be refused.
pub(super) fn judge(document: &Document, diagnostics: &mut Diagnostics) {
    for provider in document.root.list("providers") {
        let one = provider.get("issuer").into_iter().map(AsRef::as_ref);
        let issuers: Vec<&Node> = match provider.get("issuers") {
            // The list `issuers` may hold both spellings.
            Some(_) => Vec::new(),
            None => one.collect(),
        };
        for node in issuers {
            let Some(issuer) = node.text() else { continue };
            if let Some((who, right)) = spelt_wrong(issuer) {
                let text = format!("{who} writes this issuer with another end");
                let fault = Fault::new(node.span.clone(), text).help(format!("write {right}"));
                let place = place::of(&document.root, node);
                diagnostics.warning(&document.source, fault, place);
            }
        }
    }
}

/// The provider's product, and the issuer as that writes it; `None` if the spelling is right or
/// the product is not known.
fn spelt_wrong(issuer: &str) -> Option<(&'static str, String)> {
    let rest = issuer.strip_prefix("https://")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let slash = issuer.ends_with('/');
    let bare = issuer.trim_end_matches('/');
    let parts: Vec<&str> = path.trim_end_matches('/').split('/').collect();
    let (who, wanted) = match (host, parts.as_slice()) {
        (host, [""]) if host.ends_with(".auth0.com") => ("Auth0", true),
        ("sts.windows.net", [tenant]) if !tenant.is_empty() => ("Entra ID", true),
        ("login.microsoftonline.com", [_, "v2.0"]) => ("Entra ID", false),
        ("accounts.google.com", [""]) => ("Google", false),
        (_, [.., "realms", _]) => ("Keycloak", false),
        _ => return None,
    };
    (slash != wanted).then(|| {
        let end = if wanted { "/" } else { "" };
        (who, format!("{bare}{end}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_known_issuers_have_one_spelling() {
        for (right, wrong) in [
            ("https://a.eu.auth0.com/", "https://a.eu.auth0.com"),
            (
                "https://sts.windows.net/1-2/",
                "https://sts.windows.net/1-2",
            ),
            (
                "https://login.microsoftonline.com/1-2/v2.0",
                "https://login.microsoftonline.com/1-2/v2.0/",
            ),
            (
                "https://accounts.google.com",
                "https://accounts.google.com/",
            ),
            (
                "https://kc.example.com/auth/realms/a",
                "https://kc.example.com/auth/realms/a/",
            ),
        ] {
            assert_eq!(spelt_wrong(right), None, "{right}");
            assert_eq!(spelt_wrong(wrong).unwrap().1, right);
        }
        for issuer in [
            "https://dex.example.com/dex",
            "https://example.com/",
            "a",
            "http://x/realms/y/",
        ] {
            assert_eq!(spelt_wrong(issuer), None, "{issuer}");
        }
    }
}
