//! What the API refuses with the shipped policies, and what it takes where Pod Security is strict.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::case::{cases, until};
use crate::product::{Form, Kind, Product, lost};

cases![ALL:
    a_way_around_the_gate_is_refused,
    policies_for_the_backends_are_taken_as_they_are,
    its_pods_are_taken_where_pod_security_is_restricted,
    its_pods_may_have_the_memory_that_the_file_gives,
    a_node_that_is_emptied_takes_one_pod_at_a_time,
];

/// The shipped policies refuse slips, and nothing that is shipped.
async fn a_way_around_the_gate_is_refused(product: &mut Product) -> Result<()> {
    let policies = product.shipped("extras/admission.yaml")?;
    let stranger = stranger();
    let allowed = async |document: &Value| {
        let answer = product.scene.api.try_apply(document).await;
        answer.is_ok_and(|answer| answer.refusal().is_none())
    };
    ensure!(allowed(&stranger).await, "refused without a policy");
    taken(product, &policies).await?;
    let carrier = product.carrier_with(|_| {});
    let slips = match product.kind {
        Kind::Istio => slips_with_istio(&carrier),
        Kind::EnvoyGateway => {
            let shipped = product.shipped_for(Form::Wasm, "policy.yaml")?;
            slips_with_envoy_gateway(shipped.first().context("no policy")?)
        }
    };
    let ways = ways(product.kind);
    let refusal = async |document: &Value| {
        let answer = product.scene.api.try_apply(document).await.ok()?;
        answer.refusal().map(str::to_owned)
    };
    let holds = async || {
        // One for each of the three policies.
        refusal(&stranger).await.is_some()
            && refusal(&slips[0].1).await.is_some()
            && refusal(&ways[0].1).await.is_some()
    };
    until(holds, "a policy that holds", product).await?;
    // The others may have held later than the first, and let these in meanwhile.
    product.scene.api.delete(&slips[0].1).await?;
    product.scene.api.delete(&ways[0].1).await?;
    for (what, document) in routes(product)?.iter().chain(&slips).chain(&ways) {
        let said = refusal(document)
            .await
            .with_context(|| format!("{what} is taken"))?;
        ensure!(said.contains("scopegate-"), "{what}: {said}");
    }
    for file in product.kind.files() {
        for document in product.shipped(file)? {
            product.scene.api.apply(&document).await?;
        }
    }
    if product.kind == Kind::EnvoyGateway {
        for mut document in product.shipped_for(Form::Native, "gateway.yaml")? {
            if document["kind"] == "EnvoyProxy" {
                document["metadata"]["name"] = json!("beside");
                product.scene.api.apply(&document).await?;
                product.scene.api.delete(&document).await?;
            }
        }
    }
    // Elsewhere people do as they please.
    product.scene.put_namespace("elsewhere").await?;
    let mut elsewhere = slips[0].1.clone();
    elsewhere["metadata"]["namespace"] = json!("elsewhere");
    ensure!(allowed(&elsewhere).await, "refused elsewhere");
    product.scene.api.delete(&elsewhere).await?;
    for document in policies.iter().rev() {
        product.scene.api.delete(document).await?;
    }
    let gone = async || allowed(&stranger).await;
    until(gone, "without the policy again", product).await?;
    product.scene.api.delete(&stranger).await
}

/// Strictly, with nothing lost and no warning.
pub async fn taken(product: &Product, documents: &[Value]) -> Result<()> {
    for document in documents {
        let answer = product.scene.api.try_apply(document).await?;
        let (kind, name) = (&document["kind"], &document["metadata"]["name"]);
        ensure!(answer.refusal().is_none(), "{kind} {name}: {answer:?}");
        ensure!(
            answer.warnings.is_empty(),
            "{kind} {name}: {:?}",
            answer.warnings
        );
        let there = product.scene.api.get(document).await?;
        let lost = lost(&document["spec"], &there["spec"]);
        ensure!(lost.is_empty(), "{kind} {name} lost {lost:?}");
    }
    Ok(())
}

/// Nobody here enforces what these say.
async fn policies_for_the_backends_are_taken_as_they_are(product: &mut Product) -> Result<()> {
    let mut documents = product.shipped("extras/network.yaml")?;
    if product.kind == Kind::Istio {
        documents.extend(product.shipped("extras/authorization.yaml")?);
    }
    taken(product, &documents).await?;
    // The pods that may reach the backends are those that there are.
    let deployment = product.deployment().await?;
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    let namespace = &deployment["metadata"]["namespace"];
    let account = &deployment["spec"]["template"]["spec"]["serviceAccountName"];
    for document in &documents {
        let from = match document["kind"].as_str() {
            Some("NetworkPolicy") => &document["spec"]["ingress"][0]["from"],
            _ => &document["spec"]["rules"][0]["from"],
        };
        let told = from.to_string();
        if document["kind"] == "NetworkPolicy" {
            let place = &from[1]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"];
            ensure!(place == namespace, "{told}");
            let wanted = from[1]["podSelector"]["matchLabels"].as_object();
            let wanted = wanted.context("no labels")?;
            ensure!(
                !wanted.is_empty() && wanted.iter().all(|(name, value)| labels[name] == *value),
                "{told}, {labels}"
            );
        } else {
            let (namespace, account) = (namespace.as_str(), account.as_str());
            let principal = format!(
                "cluster.local/ns/{}/sa/{}",
                namespace.unwrap_or_default(),
                account.unwrap_or_default()
            );
            ensure!(told.contains(&principal), "{told}, {principal}");
        }
    }
    for document in &documents {
        product.scene.api.delete(document).await?;
    }
    Ok(())
}

/// A route in a backend's own namespace, for a Gateway of somebody else.
fn stranger() -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "stranger", "namespace": "loki"},
        "spec": {
            "parentRefs": [{"name": "theirs", "namespace": "elsewhere"}],
            "rules": [{"backendRefs": [{"name": "loki-gateway", "port": 80}]}],
        },
    })
}

/// What leads to a backend without a route that is asked for the header, or takes the gate off a route.
fn ways(kind: Kind) -> Vec<(String, Value)> {
    let more = match kind {
        Kind::Istio => ways_of_istio(),
        Kind::EnvoyGateway => ways_of_envoy_gateway(),
    };
    let mut ways = vec![
        one(
            "a TLSRoute",
            GATEWAYS,
            "TLSRoute",
            ("loki", "around"),
            json!({
                "parentRefs": [{"name": "theirs", "namespace": "elsewhere"}],
                "hostnames": ["loki.example.com"],
                "rules": [{"backendRefs": [{"name": "loki-gateway", "port": 80}]}],
            }),
        ),
        one(
            "an Ingress",
            "networking.k8s.io/v1",
            "Ingress",
            ("loki", "around"),
            json!({"defaultBackend": {"service": {"name": "loki-gateway", "port": {"number": 80}}}}),
        ),
        one(
            "a grant for routes of elsewhere",
            "gateway.networking.k8s.io/v1beta1",
            "ReferenceGrant",
            ("loki", "around"),
            json!({
                "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "elsewhere"}],
                "to": [{"group": "", "kind": "Service"}],
            }),
        ),
    ];
    ways.extend(more);
    ways
}

fn one(
    what: &str,
    version: &str,
    kind: &str,
    (namespace, name): (&str, &str),
    spec: Value,
) -> (String, Value) {
    let mut document = json!({
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
    });
    document["spec"] = spec;
    (what.to_owned(), document)
}

fn ways_of_istio() -> Vec<(String, Value)> {
    vec![
        one(
            "a VirtualService of a gateway",
            "networking.istio.io/v1",
            "VirtualService",
            ("loki", "around"),
            json!({
                "hosts": ["loki.example.com"],
                "gateways": ["istio-system/theirs"],
                "http": [{"route": [{"destination": {"host": "loki-gateway.loki.svc.cluster.local"}}]}],
            }),
        ),
        one(
            "a TrafficExtension that fails open",
            "extensions.istio.io/v1alpha1",
            "TrafficExtension",
            ("scopegate", "around"),
            json!({
                "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "observability"}],
                "wasm": {
                    "url": "oci://registry.example.com/another",
                    "sha256": "1".repeat(64),
                    "failStrategy": "FAIL_OPEN",
                },
            }),
        ),
    ]
}

fn ways_of_envoy_gateway() -> Vec<(String, Value)> {
    let processor = json!([{"backendRefs": [{"kind": "Backend", "group": "gateway.envoyproxy.io", "name": "loki"}]}]);
    vec![
        one(
            "a route to nowhere of another namespace",
            GATEWAYS,
            "HTTPRoute",
            ("scopegate", "around"),
            json!({
                "parentRefs": [{"name": "observability"}],
                "rules": [{"backendRefs": [{
                    "group": "gateway.envoyproxy.io",
                    "kind": "Backend",
                    "name": "nowhere",
                    "namespace": "loki",
                }]}],
            }),
        ),
        one(
            "a nowhere that is Loki",
            EXTENSIONS,
            "Backend",
            ("loki", "nowhere"),
            json!({"endpoints": [{"fqdn": {"hostname": "loki-gateway.loki.svc.cluster.local", "port": 80}}]}),
        ),
        one(
            "a native module that Envoy fetches",
            EXTENSIONS,
            "EnvoyProxy",
            ("scopegate", "around"),
            json!({"dynamicModules": [{
                "name": "gate",
                "source": {
                    "type": "Remote",
                    "remote": {"url": "https://example.com/gate.so", "sha256": "1".repeat(64)},
                },
                "doNotClose": true,
            }]}),
        ),
        one(
            "a policy on a route",
            EXTENSIONS,
            "EnvoyExtensionPolicy",
            ("scopegate", "around"),
            json!({
                "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "loki"}],
                "extProc": processor,
            }),
        ),
        one(
            "a policy on a listener",
            EXTENSIONS,
            "EnvoyExtensionPolicy",
            ("scopegate", "around"),
            json!({
                "targetRefs": [{
                    "group": "gateway.networking.k8s.io",
                    "kind": "Gateway",
                    "name": "observability",
                    "sectionName": "https",
                }],
                "extProc": processor,
            }),
        ),
    ]
}

const GATEWAYS: &str = "gateway.networking.k8s.io/v1";
const EXTENSIONS: &str = "gateway.envoyproxy.io/v1alpha1";

/// The shipped routes, each with a slip.
fn routes(product: &Product) -> Result<Vec<(String, Value)>> {
    let mut slips = Vec::new();
    for route in product.shipped("routes.yaml")? {
        let name = route["metadata"]["name"].as_str().unwrap_or_default();
        if !["HTTPRoute", "GRPCRoute"].contains(&route["kind"].as_str().unwrap_or_default()) {
            continue;
        }
        if name == "entrance" {
            let mut slip = route.clone();
            slip["spec"]["rules"][0]["backendRefs"][0]["name"] = json!("loki");
            slips.push(("an entrance that leads to Loki".to_owned(), slip));
            let mut slip = route.clone();
            slip["spec"]["rules"][1]["filters"] = json!([
                {"type": "RequestMirror", "requestMirror": {"backendRef": {
                    "group": "gateway.envoyproxy.io", "kind": "Backend", "name": "loki",
                }}},
            ]);
            slips.push(("an entrance that sends copies to Loki".to_owned(), slip));
            continue;
        }
        let last = route["spec"]["rules"]
            .as_array()
            .and_then(|rules| rules.len().checked_sub(1))
            .context("no rules")?;
        let one = |what: &str, change: &dyn Fn(&mut Value)| {
            let mut slip = route.clone();
            change(&mut slip["spec"]["rules"][last]);
            (format!("{name}: {what}"), slip)
        };
        slips.push(one("no header", &|rule| {
            rule["matches"][0]["headers"] = json!([]);
        }));
        slips.push(one("another header", &|rule| {
            rule["matches"][0]["headers"][0]["name"] = json!("x-scopegate-backends");
        }));
        slips.push(one("any value of it", &|rule| {
            rule["matches"][0]["headers"][0]["type"] = json!("RegularExpression");
            rule["matches"][0]["headers"][0]["value"] = json!(".*");
        }));
        slips.push(one("one match without it", &|rule| {
            let mut other = rule["matches"][0].clone();
            if let Some(other) = other.as_object_mut() {
                other.remove("headers");
            }
            if let Some(matches) = rule["matches"].as_array_mut() {
                matches.push(other);
            }
        }));
        slips.push(one("no matches", &|rule| rule["matches"] = json!([])));
    }
    ensure!(slips.len() > 10, "{} slips", slips.len());
    Ok(slips)
}

fn slips_with_istio(plugin: &Value) -> Vec<(String, Value)> {
    let one = |what: &str, change: &dyn Fn(&mut Value)| {
        let mut slip = plugin.clone();
        slip["metadata"]["name"] = json!("slip");
        change(&mut slip["spec"]);
        (what.to_owned(), slip)
    };
    vec![
        one("FAIL_OPEN", &|spec| {
            spec["failStrategy"] = json!("FAIL_OPEN");
        }),
        one("no sha256", &|spec| {
            if let Some(spec) = spec.as_object_mut() {
                spec.remove("sha256");
            }
        }),
        one("an empty sha256", &|spec| spec["sha256"] = json!("")),
        one("another sha256", &|spec| {
            spec["sha256"] = json!("1".repeat(64));
        }),
        one("a tag in the digest's place", &|spec| {
            spec["url"] = json!("oci://registry.example.com/scopegate@latest");
        }),
    ]
}

fn slips_with_envoy_gateway(policy: &Value) -> Vec<(String, Value)> {
    let one = |what: &str, change: &dyn Fn(&mut Value)| {
        let mut slip = policy.clone();
        slip["metadata"]["name"] = json!("slip");
        change(&mut slip["spec"]["wasm"][0]);
        (what.to_owned(), slip)
    };
    vec![
        one("failOpen", &|plugin| plugin["failOpen"] = json!(true)),
        one("no sha256", &|plugin| {
            if let Some(image) = plugin["code"]["image"].as_object_mut() {
                image.remove("sha256");
            }
        }),
        one("a sha256 of 63 digits", &|plugin| {
            plugin["code"]["image"]["sha256"] = json!("1".repeat(63));
        }),
        one("another sha256", &|plugin| {
            plugin["code"]["image"]["sha256"] = json!("1".repeat(64));
        }),
        one("by HTTP and without sha256", &|plugin| {
            plugin["code"] =
                json!({"type": "HTTP", "http": {"url": "https://example.com/scopegate.wasm"}});
        }),
    ]
}

/// Where the namespace demands what `restricted` says.
async fn its_pods_are_taken_where_pod_security_is_restricted(product: &mut Product) -> Result<()> {
    let deployment = product.deployment().await?;
    let namespace = deployment["metadata"]["namespace"]
        .as_str()
        .context("no namespace")?;
    let labelled = |level: &str| {
        json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": namespace,
                "labels": {"pod-security.kubernetes.io/enforce": level},
            },
        })
    };
    product.scene.api.apply(&labelled("restricted")).await?;
    let mut pod = deployment["spec"]["template"].clone();
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["name"] = json!("trial");
    let path = format!("/api/v1/namespaces/{namespace}/pods?dryRun=All");
    let refusal = async |pod: &Value| -> Result<Option<String>> {
        let answer = product.scene.api.call("POST", &path, pod).await?;
        Ok(answer.refusal().map(str::to_owned))
    };
    let said = refusal(&pod).await?;
    ensure!(said.is_none(), "{said:?}");
    let mut without = pod.clone();
    without["spec"]["securityContext"]["seccompProfile"] = Value::Null;
    for container in without["spec"]["containers"]
        .as_array_mut()
        .into_iter()
        .flatten()
    {
        container["securityContext"]["seccompProfile"] = Value::Null;
    }
    let said = refusal(&without).await?.context("nobody asks for it")?;
    ensure!(said.contains("seccompProfile"), "{said}");
    product.scene.api.apply(&labelled("privileged")).await?;
    Ok(())
}

/// Not that of the product's own defaults.
async fn its_pods_may_have_the_memory_that_the_file_gives(product: &mut Product) -> Result<()> {
    let deployment = product.deployment().await?;
    let proxy = match product.kind {
        Kind::Istio => "istio-proxy",
        Kind::EnvoyGateway => "envoy",
    };
    let mut containers = deployment["spec"]["template"]["spec"]["containers"]
        .as_array()
        .into_iter()
        .flatten();
    let container = containers.find(|container| container["name"] == proxy);
    let limits = &container.context("no proxy")?["resources"]["limits"];
    ensure!(limits["memory"] == "2304Mi", "{limits}");
    Ok(())
}

/// Two pods, and a budget that selects them.
async fn a_node_that_is_emptied_takes_one_pod_at_a_time(product: &mut Product) -> Result<()> {
    let deployment = product.deployment().await?;
    ensure!(deployment["spec"]["replicas"] == 2, "{deployment}");
    let namespace = deployment["metadata"]["namespace"]
        .as_str()
        .context("no namespace")?;
    let path = format!("/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets");
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    let selects = |budget: &Value| {
        let wanted = budget["spec"]["selector"]["matchLabels"].as_object();
        wanted.is_some_and(|wanted| {
            !wanted.is_empty() && wanted.iter().all(|(name, value)| labels[name] == *value)
        }) && budget["spec"]["maxUnavailable"] == 1
    };
    let there = async || {
        let Ok(answer) = product.scene.api.call("GET", &path, &Value::Null).await else {
            return false;
        };
        let budgets = answer.body["items"].as_array().into_iter().flatten();
        budgets.filter(|budget| selects(budget)).count() == 1
    };
    until(there, "a budget for its pods", product).await
}
