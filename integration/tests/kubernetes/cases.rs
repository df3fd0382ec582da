//! The tests.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use integration::client::RawRequest;
use integration::served::{PATH, Served};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, PostParams};
use serde_json::{Value, json};

use crate::cluster::{self, Cluster};

/// A resource with that name, a tenant of the same, and a viewer.
fn resource(name: &str, viewer: &str) -> Value {
    with_tenants(name, viewer, &json!([{"name": name}]))
}

fn with_tenants(name: &str, viewer: &str, tenants: &Value) -> Value {
    json!({
        "apiVersion": "observability.giantswarm.io/v1alpha2",
        "kind": "GrafanaOrganization",
        "metadata": {"name": name},
        "spec": {
            "displayName": name,
            "rbac": {"admins": ["platform:admins"], "viewers": [viewer]},
            "tenants": tenants,
        },
    })
}

async fn named(served: &Served, names: &[&str]) -> Result<integration::served::Document> {
    let what = format!("{names:?}");
    served
        .until(&what, |document| document.names() == names)
        .await
}

async fn named_with(
    served: &Served,
    names: &[&str],
    text: &str,
) -> Result<integration::served::Document> {
    let wanted = |document: &integration::served::Document| {
        document.names() == names && document.text.contains(text)
    };
    served.until(text, wanted).await
}

pub async fn what_is_created_changed_and_deleted_is_served_at_once(
    cluster: &mut Cluster,
) -> Result<()> {
    let served = cluster.serve(&["--writers", "client:{name}"]).await?;
    let empty = named(&served, &[]).await?;
    ensure!(served.health("/readyz").await?.status == 200);

    let began = Instant::now();
    let version = cluster.put(&resource("acme", "x")).await?;
    let created = named(&served, &["acme"]).await?;
    ensure!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    ensure!(created.mark() > empty.mark());
    ensure!(
        created.revision == version,
        "{} and {version}",
        created.revision
    );
    let writers = &created.organizations[0]["rbac"]["writers"];
    ensure!(*writers == json!(["client:acme"]), "{}", created.text);

    let both = json!([{"name": "acme", "types": ["alerting", "data"]}]);
    let version = cluster.put(&with_tenants("acme", "y", &both)).await?;
    let document = served
        .until("y", |document| document.text.contains("\"y\""))
        .await?;
    ensure!(document.revision == version);
    let types = &document.organizations[0]["tenants"][0]["types"];
    ensure!(*types == json!(["data", "alerting"]), "{}", document.text);

    // What is no change of what it grants is none of the document.
    cluster
        .patch("acme", &json!({"metadata": {"labels": {"a": "b"}}}))
        .await?;
    let version = cluster.put(&resource("globex", "x")).await?;
    let two = named(&served, &["acme", "globex"]).await?;
    ensure!(two.revision == version);
    ensure!(served.events("published").len() == 4, "{}", served.log());

    cluster.delete("acme").await?;
    let one = named(&served, &["globex"]).await?;
    ensure!(one.mark() > two.mark());
    cluster.delete("globex").await?;
    let none = named(&served, &[]).await?;
    ensure!(none.mark() > one.mark());
    ensure!(served.metric("source_errors_total").await? == 0);
    Ok(())
}

pub async fn rights_of_a_tenant_in_several_resources_add_up(cluster: &mut Cluster) -> Result<()> {
    let served = cluster.serve(&[]).await?;
    let twice = json!([{"name": "shared"}, {"name": "shared", "types": ["alerting"]}]);
    cluster.put(&with_tenants("a", "x", &twice)).await?;
    cluster
        .put(&with_tenants("b", "y", &json!([{"name": "shared"}])))
        .await?;
    let document = named(&served, &["a", "b"]).await?;
    let tenants = |index: usize| document.organizations[index]["tenants"].clone();
    ensure!(tenants(0) == json!([{"name": "shared", "types": ["data", "alerting"]}]));
    ensure!(tenants(1) == json!(["shared"]));
    let told = served.events("resource adapted");
    ensure!(told.len() == 1 && told[0]["name"] == "a", "{told:?}");
    Ok(())
}

pub async fn a_resource_that_is_going_grants_nothing(cluster: &mut Cluster) -> Result<()> {
    let mut kept = resource("acme", "x");
    kept["metadata"]["finalizers"] = json!(["example.com/kept"]);
    cluster.put(&kept).await?;
    let served = cluster.serve(&[]).await?;
    let there = named(&served, &["acme"]).await?;
    cluster.delete("acme").await?;
    let going = named(&served, &[]).await?;
    ensure!(going.mark() > there.mark());
    // The API still has it.
    ensure!(cluster.organizations().get_opt("acme").await?.is_some());
    // A replica that lists sees it the same way.
    let other = cluster.serve(&[]).await?;
    named(&other, &[]).await?;
    Ok(())
}

pub async fn a_resource_that_does_not_convert_blocks_no_other(cluster: &mut Cluster) -> Result<()> {
    cluster.put(&resource("good", "x")).await?;
    // The definition accepts it, and its webhook would not.
    cluster
        .put(&with_tenants(
            "bad",
            "x",
            &json!([{"name": "__mimir_cluster"}]),
        ))
        .await?;
    cluster
        .put(&with_tenants(
            "worse",
            "x",
            &json!([{"name": "a", "types": []}]),
        ))
        .await?;
    let served = cluster.serve(&[]).await?;
    named(&served, &["good"]).await?;
    served.until_metric("dropped", 2).await?;
    cluster.put(&resource("new", "x")).await?;
    named(&served, &["good", "new"]).await?;
    cluster.put(&resource("bad", "x")).await?;
    named(&served, &["bad", "good", "new"]).await?;
    served.until_metric("dropped", 1).await?;
    cluster.delete("worse").await?;
    served.until_metric("dropped", 0).await
}

pub async fn replicas_say_the_same_byte_for_byte(cluster: &mut Cluster) -> Result<()> {
    cluster.put(&resource("a", "x")).await?;
    let one = cluster.serve(&[]).await?;
    let two = cluster.serve(&[]).await?;
    named(&one, &["a"]).await?;
    named(&two, &["a"]).await?;
    for round in 0..20 {
        let name = ["b", "c", "d"][round % 3];
        let version = if round % 4 == 3 && cluster.organizations().get_opt(name).await?.is_some() {
            cluster.delete(name).await?;
            0
        } else {
            cluster
                .put(&resource(name, &format!("round-{round}")))
                .await?
        };
        let there = |document: &integration::served::Document| document.revision >= version;
        one.until("the change", there).await?;
        two.until("the change", there).await?;
    }
    cluster.put(&resource("last", "x")).await?;
    let last = |document: &integration::served::Document| document.names().contains(&"last");
    let (first, second) = (
        one.until("last", last).await?,
        two.until("last", last).await?,
    );
    ensure!(first.text == second.text, "{}\n{}", first.text, second.text);
    ensure!(first.tag == second.tag);
    Ok(())
}

/// The answer of a replica that has not seen the last change, but only its result.
pub async fn a_replica_that_came_later_is_no_step_back(cluster: &mut Cluster) -> Result<()> {
    cluster.put(&resource("a", "x")).await?;
    cluster.put(&resource("b", "x")).await?;
    let one = cluster.serve(&[]).await?;
    let before = named(&one, &["a", "b"]).await?;
    // No object that is left knows of this.
    cluster.delete("b").await?;
    let old = named(&one, &["a"]).await?;
    ensure!(old.mark() > before.mark());
    // Something else happens in the cluster.
    for round in 0..3 {
        cluster
            .patch(
                "a",
                &json!({"metadata": {"labels": {"round": round.to_string()}}}),
            )
            .await?;
    }
    let two = cluster.serve(&[]).await?;
    let new = named(&two, &["a"]).await?;
    ensure!(
        new.mark() > old.mark(),
        "{:?} and {:?}",
        new.mark(),
        old.mark()
    );
    ensure!(new.organizations == old.organizations);
    // Whoever asks one after the other takes the newer document once, and then has it.
    let ask = async |served: &Served, tag: &str| -> Result<u16> {
        let request = RawRequest::get(PATH).header("if-none-match", tag);
        Ok(served.ask(request).await?.status)
    };
    ensure!(ask(&two, &old.tag).await? == 200);
    ensure!(ask(&one, &new.tag).await? == 304);
    ensure!(ask(&two, &new.tag).await? == 304);
    // The next change makes them one again.
    cluster.put(&resource("c", "x")).await?;
    let (first, second) = (
        named(&one, &["a", "c"]).await?,
        named(&two, &["a", "c"]).await?,
    );
    ensure!(first.text == second.text && first.mark() > new.mark());
    Ok(())
}

/// Older installations have only v1alpha1.
pub async fn the_older_version_is_read_where_there_is_no_other(
    cluster: &mut Cluster,
) -> Result<()> {
    cluster.delete_definition().await?;
    let mut definition = cluster::definition()?;
    let versions = definition["spec"]["versions"]
        .as_array_mut()
        .context("no versions")?;
    versions.remove(0);
    versions[0]["storage"] = json!(true);
    cluster.put_definition(&definition).await?;
    let mut old = with_tenants("acme", "x", &json!(["acme"]));
    old["apiVersion"] = json!("observability.giantswarm.io/v1alpha1");
    cluster.put(&old).await?;
    let served = cluster.serve(&[]).await?;
    let document = named(&served, &["acme"]).await?;
    let tenants = &document.organizations[0]["tenants"];
    ensure!(
        *tenants == json!([{"name": "acme", "types": ["data", "alerting"]}]),
        "{tenants}"
    );
    cluster.delete_definition().await
}

pub async fn the_definition_may_go_and_come_back(cluster: &mut Cluster) -> Result<()> {
    let mut kept = resource("b", "x");
    kept["metadata"]["finalizers"] = json!(["example.com/kept"]);
    cluster.put(&resource("a", "x")).await?;
    cluster.put(&kept).await?;
    let patient = cluster.serve(&["--resync", "2s"]).await?;
    let hasty = cluster.serve(&["--settle", "1s"]).await?;
    let both = [&patient, &hasty];
    let before = named(&patient, &["a", "b"]).await?;
    named(&hasty, &["a", "b"]).await?;
    let all_hold = async |what: &str| -> Result<()> {
        for served in both {
            let names = served.document().await?;
            ensure!(names.names() == ["a", "b"], "{what}\n{}", served.log());
            ensure!(served.metric("held").await? == 1, "{what}");
            ensure!(served.health("/readyz").await?.status == 200, "{what}");
        }
        Ok(())
    };
    // As long as somebody holds a resource the definition is going, and not gone.
    cluster.start_deleting_definition().await?;
    cluster
        .until("a has gone", async |cluster| {
            Ok(cluster.organizations().get_opt("a").await?.is_none())
        })
        .await?;
    for served in both {
        served.until_metric("held", 1).await?;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    all_hold("it is going").await?;
    cluster
        .patch("b", &json!({"metadata": {"finalizers": null}}))
        .await?;
    cluster.until_no_definition().await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    all_hold("it has gone").await?;
    // It is back, and nobody has written a resource yet.
    cluster.put_definition(&cluster::definition()?).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    all_hold("it is back").await?;
    ensure!(patient.document().await?.text == before.text);
    // One of them is back: the other may come, or not.
    cluster.put(&resource("a", "x")).await?;
    let one = named(&hasty, &["a"]).await?;
    ensure!(one.mark() > before.mark());
    ensure!(patient.document().await?.text == before.text);
    cluster.put(&resource("b", "y")).await?;
    for served in both {
        let after = named_with(served, &["a", "b"], "\"y\"").await?;
        ensure!(after.mark() > one.mark());
        served.until_metric("held", 0).await?;
    }
    // From now on the last one may go as well.
    cluster.delete("a").await?;
    cluster.delete("b").await?;
    named(&patient, &[]).await?;
    Ok(())
}

pub async fn before_there_is_a_definition_nothing_is_served(cluster: &mut Cluster) -> Result<()> {
    cluster.delete_definition().await?;
    let served = cluster.serve(&[]).await?;
    served.until_metric("held", 1).await?;
    ensure!(served.get().await?.status == 503);
    ensure!(served.health("/readyz").await?.status == 503);
    ensure!(served.health("/livez").await?.status == 200);
    cluster.put_definition(&cluster::definition()?).await?;
    named(&served, &[]).await?;
    ensure!(served.health("/readyz").await?.status == 200);
    Ok(())
}

/// By the real kustomize, and by the API itself, which refuses what it does not know.
pub async fn the_shipped_manifests_are_built_and_accepted(cluster: &mut Cluster) -> Result<()> {
    let documents = cluster::built("envoy/organizations")?;
    let mut kinds = Vec::new();
    for document in &documents {
        let kind = document["kind"].as_str().unwrap_or_default();
        kinds.push(kind);
        cluster.dry_run(document).await?;
        let mut slip = document.clone();
        slip["surelyUnknown"] = json!(1);
        ensure!(
            cluster.dry_run(&slip).await.is_err(),
            "{kind}: a slip is accepted"
        );
    }
    kinds.sort_unstable();
    let wanted = [
        "ClusterRole",
        "ClusterRoleBinding",
        "Deployment",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Service",
        "ServiceAccount",
    ];
    ensure!(kinds == wanted, "{kinds:?}");
    // What runs there is a command line that this program understands, on the ports that are named.
    let deployment = documents
        .iter()
        .find(|it| it["kind"] == "Deployment")
        .context("none")?;
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let image = container["image"].as_str().unwrap_or_default();
    ensure!(image.contains("@sha256:"), "{image}");
    let arguments = container["args"].as_array().context("no arguments")?;
    let arguments = arguments.iter().filter_map(Value::as_str);
    let command: Vec<&str> = std::iter::once("scopegate").chain(arguments).collect();
    let parsed = <scopegate::cli::Arguments as clap::Parser>::try_parse_from(&command);
    ensure!(parsed.is_ok(), "{command:?}: {parsed:?}");
    Ok(())
}

/// Also in a namespace where the restricted standard for pods is enforced.
pub async fn plain_envoy_is_accepted_where_pods_may_do_little(cluster: &mut Cluster) -> Result<()> {
    let documents = cluster::built("envoy/kustomize/envoy")?;
    for document in &documents {
        cluster.dry_run(document).await?;
    }
    let name = "restricted";
    let metadata = json!({
        "name": name,
        "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
    });
    cluster
        .apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}))
        .await?;
    // Nobody here makes it.
    let account = json!({"name": "default", "namespace": name});
    cluster
        .apply(&json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account}))
        .await?;
    let deployment = documents
        .iter()
        .find(|it| it["kind"] == "Deployment")
        .context("no Deployment")?;
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "scopegate", "namespace": name},
        "spec": deployment["spec"]["template"]["spec"],
    });
    cluster.dry_run(&pod).await?;
    pod["spec"]["containers"][0]["securityContext"]["capabilities"] = json!({});
    let refused = cluster.dry_run(&pod).await;
    ensure!(refused.is_err(), "the standard is not enforced");
    Ok(())
}

pub async fn the_shipped_role_suffices_and_permits_nothing_else(
    cluster: &mut Cluster,
) -> Result<()> {
    cluster.put(&resource("a", "x")).await?;
    let account = cluster.account().await?;
    let organizations = cluster::organizations(account.clone(), "v1alpha2");
    ensure!(
        organizations
            .list(&ListParams::default())
            .await?
            .items
            .len()
            == 1
    );
    organizations.get("a").await?;
    let definitions = cluster::definitions(account.clone());
    definitions
        .get("grafanaorganizations.observability.giantswarm.io")
        .await?;
    let object: DynamicObject = serde_json::from_value(resource("b", "x"))?;
    let forbidden = [
        cluster::refused(organizations.create(&PostParams::default(), &object).await)?,
        cluster::refused(organizations.delete("a", &DeleteParams::default()).await)?,
        cluster::refused(definitions.list(&ListParams::default()).await)?,
        cluster::refused(definitions.get("others.example.com").await)?,
        cluster::refused(
            definitions
                .delete(
                    "grafanaorganizations.observability.giantswarm.io",
                    &DeleteParams::default(),
                )
                .await,
        )?,
    ];
    ensure!(forbidden == [403; 5], "{forbidden:?}");
    for (kind, plural) in [
        ("Secret", "secrets"),
        ("ConfigMap", "configmaps"),
        ("Pod", "pods"),
        ("Namespace", "namespaces"),
    ] {
        let api: Api<DynamicObject> = Api::all_with(account.clone(), &cluster::core(kind, plural));
        let status = cluster::refused(api.list(&ListParams::default()).await)?;
        ensure!(status == 403, "{kind}: {status}");
    }
    Ok(())
}

pub async fn a_role_that_is_withdrawn_takes_nothing_away(cluster: &mut Cluster) -> Result<()> {
    cluster.put(&resource("a", "x")).await?;
    let served = cluster.serve(&["--resync", "1s"]).await?;
    let before = named(&served, &["a"]).await?;
    cluster.unbind().await?;
    let forbidden = async |_: &Cluster| Ok(served.metric("source_errors_total").await? > 0);
    cluster.until("it is refused", forbidden).await?;
    let told = served.events("the cluster cannot be asked");
    let why = told
        .first()
        .and_then(|line| line["why"].as_str())
        .unwrap_or_default();
    ensure!(why.starts_with("403 "), "{told:?}");
    ensure!(served.document().await?.text == before.text);
    ensure!(served.health("/readyz").await?.status == 200);
    cluster.bind().await?;
    cluster.put(&resource("b", "x")).await?;
    named(&served, &["a", "b"]).await?;
    Ok(())
}

pub async fn an_outage_longer_than_a_resync_loses_nothing(cluster: &mut Cluster) -> Result<()> {
    cluster.put(&resource("a", "x")).await?;
    cluster.put(&resource("b", "x")).await?;
    let served = cluster.serve(&["--resync", "1s"]).await?;
    let before = named(&served, &["a", "b"]).await?;
    cluster.stop_api();
    served.until_metric("source_errors_total", 1).await?;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        ensure!(served.document().await?.text == before.text);
        ensure!(served.health("/readyz").await?.status == 200);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    ensure!(served.metric("source_age_seconds").await? >= 3);
    // A replica that begins in the outage has nothing to say.
    let late = cluster.serve(&[]).await?;
    ensure!(late.get().await?.status == 503);
    cluster.start_api().await?;
    // What is withdrawn before it has looked again is seen all the same.
    cluster.delete("b").await?;
    let after = named(&served, &["a"]).await?;
    ensure!(after.mark() > before.mark());
    ensure!(
        served.events("the cluster answers again").len() == 1,
        "{}",
        served.log()
    );
    named(&late, &["a"]).await?;
    cluster.put(&resource("c", "x")).await?;
    let (first, second) = (
        named(&served, &["a", "c"]).await?,
        named(&late, &["a", "c"]).await?,
    );
    ensure!(first.text == second.text);
    Ok(())
}

pub async fn ten_thousand_organizations(cluster: &mut Cluster) -> Result<()> {
    const MANY: usize = 10_000;
    let served = cluster.serve(&["--writers", "client:{name}"]).await?;
    named(&served, &[]).await?;
    let resources = (0..MANY).map(|number| {
        let name = format!("customer{number}");
        let tenants = json!([{"name": name}, {"name": "shared", "types": ["data", "alerting"]}]);
        with_tenants(&name, &format!("customer:{name}:viewers"), &tenants)
    });
    let began = Instant::now();
    cluster.create_all(resources.collect()).await?;
    let created = began.elapsed();
    let all = |document: &integration::served::Document| document.organizations.len() == MANY;
    let document = served.until("all of them", all).await?;
    let seen = began.elapsed().saturating_sub(created);
    let began = Instant::now();
    let late = cluster.serve(&["--writers", "client:{name}"]).await?;
    let other = late.until("all of them", all).await?;
    let listed = began.elapsed();
    ensure!(other.organizations == document.organizations);
    let began = Instant::now();
    cluster
        .patch("customer77", &json!({"spec": {"displayName": "changed"}}))
        .await?;
    let changed = |document: &integration::served::Document| document.text.contains("\"changed\"");
    let first = served.until("the change", changed).await?;
    let took = began.elapsed();
    let second = late.until("the change", changed).await?;
    ensure!(first.text == second.text && first.tag == second.tag);
    println!(
        "{MANY} organizations, {} bytes: created in {created:.1?}, all served {seen:.1?} later; listed and served after \
         {listed:.1?}; one change served after {took:.1?}; {} documents; {} and {} KiB of memory",
        document.text.len(),
        served.events("published").len(),
        served.memory()?,
        late.memory()?,
    );
    ensure!(seen < Duration::from_secs(10), "{seen:?}");
    ensure!(listed < Duration::from_secs(20), "{listed:?}");
    Ok(())
}
