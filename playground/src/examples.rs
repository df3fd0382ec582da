//! The requests of `envoy/examples`, each with its configuration.

use serde_json::{Value, json};

const REQUESTS: &str = include_str!("../../envoy/examples/requests.yaml");

const CONFIGURATIONS: [(&str, &str); 5] = [
    ("agents", include_str!("../../envoy/examples/agents.yaml")),
    (
        "contractors",
        include_str!("../../envoy/examples/contractors.yaml"),
    ),
    ("entra", include_str!("../../envoy/examples/entra.yaml")),
    ("google", include_str!("../../envoy/examples/google.yaml")),
    (
        "keycloak",
        include_str!("../../envoy/examples/keycloak.yaml"),
    ),
];

/// A list of the requests in `requests.yaml`, each with its `configuration` added. A request of an unknown example
/// is left out, and the list is empty if the file cannot be parsed.
#[must_use]
pub fn all() -> Value {
    let requests: Vec<Value> = serde_yaml_ng::from_str(REQUESTS).unwrap_or_default();
    let with_configuration = requests.into_iter().filter_map(|mut request| {
        let name = request.get("example")?.as_str()?;
        let (_, text) = CONFIGURATIONS.iter().find(|(known, _)| *known == name)?;
        let configuration = json!(text);
        request
            .as_object_mut()?
            .insert("configuration".to_owned(), configuration);
        Some(request)
    });
    with_configuration.collect()
}
