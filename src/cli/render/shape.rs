//! The section `deployment:` as JSON Schema, for editors. What it says about values is a part
//! of what [`super::deployment`] checks.

use serde_json::{Value, json};

/// A member and what it is for.
fn described(mut schema: Value, text: &str) -> Value {
    if let Some(members) = schema.as_object_mut() {
        members.insert("description".to_owned(), json!(text));
    }
    schema
}

fn text(about: &str) -> Value {
    described(json!({"type": "string"}), about)
}

fn file(about: &str) -> Value {
    described(json!({"type": "string", "pattern": "^/"}), about)
}

fn url(about: &str) -> Value {
    described(json!({"type": "string", "pattern": "^https?://"}), about)
}

fn section(properties: &Value, about: &str) -> Value {
    let schema = json!({
        "type": ["object", "null"],
        "additionalProperties": false,
        "properties": properties,
    });
    described(schema, about)
}

/// The schema of the section.
pub(super) fn schema() -> Value {
    let backend = |grpc: &str, others: &[&str], about: &str| {
        let mut members = json!({
            "url": url("Where it is, over HTTP."),
            "grpc_url": url(grpc),
        });
        if let Some(members) = members.as_object_mut() {
            let others = others.iter();
            members.extend(others.map(|name| ((*name).to_owned(), url("Where it takes OTLP."))));
        }
        section(&members, about)
    };
    let cluster = json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["url"],
        "properties": {
            "url": url("Where the cluster leads."),
            "trusted_ca": file("The authorities that may sign its certificate."),
        },
    });
    let count = |most: u64, about: &str| {
        described(
            json!({"type": "integer", "minimum": 1, "maximum": most}),
            about,
        )
    };
    section(
        &json!({
            "host": text("What clients call it; the certificate is for this name."),
            "tls": section(&json!({
                "secret": text("The Secret with the certificate."),
                "certificate": file("The certificate chain of plain Envoy, in PEM."),
                "key": file("Its private key, in PEM."),
            }), "The certificate."),
            "namespace": text("Where it runs."),
            "image": text("The module's image, without a digest."),
            "digest": described(
                json!({"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"}),
                "Its digest, as docker push prints it.",
            ),
            "envoy_image": text("Envoy's image, for plain Envoy in Kubernetes."),
            "module": file("The module's file, for plain Envoy."),
            "memory": described(
                json!({"type": "string", "pattern": "^[0-9]+[MG]i$"}),
                "What the container may have.",
            ),
            "workers": count(128, "Envoy's threads."),
            "replicas": count(1000, "How many pods."),
            "trusted_ca": file("The authorities that may sign certificates of providers and backends."),
            "backends": section(&json!({
                "loki": backend(IN_FRONT, &[], "Loki."),
                "mimir": backend(IN_FRONT, &[], "Mimir."),
                "tempo": backend(SEARCH, &["otlp_url", "otlp_grpc_url"], "Tempo."),
            }), "Where the backends are."),
            "clusters": described(
                json!({"type": ["object", "null"], "additionalProperties": cluster}),
                "Where clusters of the gate's own requests lead, if not where their URLs say.",
            ),
        }),
        "Where the gate runs.",
    )
}

/// What a gRPC URL is for at Loki and Mimir, whose own gRPC ports are for their parts.
const IN_FRONT: &str = "A Collector in front of it that takes OTLP over gRPC, which it does not.";
const SEARCH: &str = "Where it takes streaming searches, over gRPC.";

#[cfg(test)]
mod tests {
    use super::super::deployment::KNOWN;
    use super::schema;

    #[test]
    fn every_key_of_the_section_is_there_and_no_other() {
        let schema = schema();
        let mut names: Vec<&str> = schema["properties"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let mut known = KNOWN.to_vec();
        names.sort_unstable();
        known.sort_unstable();
        assert_eq!(names, known);
    }
}
