//! What the templates see of a deployment.

use std::collections::BTreeSet;

use minijinja::{Value, context};
use serde_yaml_ng::Mapping;

use super::address::Address;
use super::deployment::{Deployment, Servers};
use super::document::{Document, Reached};
use super::form::Form;
use super::printer::Note;
use super::{hosted, istio, printer};
use crate::authz::endpoint::Backend;

/// What the bootstrap and the filter's file of plain Envoy are made of.
pub(super) fn envoy(document: &Document, form: Form) -> Value {
    let configuration = printer::json(&document.gate, 12);
    let module = document.deployment.module.as_deref();
    context! {
        configuration => Value::from_safe_string(configuration),
        native => form == Form::Native,
        module => module.unwrap_or(form.file()),
        ..common(document)
    }
}

/// What plain Envoy's pods are made of: its files, and where these are mounted.
pub(super) fn kubernetes(document: &Document) -> Value {
    let backends = document.servers().flat_map(|(_, servers)| servers.all());
    let clusters = document.clusters.iter().map(|cluster| &cluster.address);
    let (mut places, mut ports) = (BTreeSet::new(), BTreeSet::new());
    for address in backends.chain(clusters) {
        match address.service() {
            Some((_, place)) => _ = places.insert(place.to_owned()),
            None => _ = ports.insert(address.port),
        }
    }
    let health = document.gate.get("health");
    let health = health.and_then(|health| health.get("path"));
    context! {
        module => "/etc/envoy/module/plugin.wasm",
        tls => context! {
            certificate => "/etc/envoy/tls/tls.crt",
            key => "/etc/envoy/tls/tls.key",
            secret => document.deployment.tls.secret.as_str(),
        },
        url => pinned(document),
        // An argument is a text.
        workers => document.deployment.workers.to_string(),
        health => health.and_then(|path| path.as_str()).unwrap_or_default(),
        places => places.into_iter().collect::<Vec<String>>(),
        ports => ports.into_iter().collect::<Vec<u16>>(),
        ..envoy(document, Form::Wasm)
    }
}

/// What Istio's resources are made of, around the gate's document `gate`.
pub(super) fn istio(document: &Document, gate: &Mapping) -> Value {
    let configuration = printer::yaml(gate, 4, &istio::NOTES);
    let mut grants: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut grpc = Vec::new();
    for (backend, servers) in document.servers() {
        for address in servers.all() {
            let Some((name, place)) = address.service() else {
                continue;
            };
            if place == document.deployment.namespace {
                continue;
            }
            match grants.iter_mut().find(|(known, _)| *known == place) {
                Some((_, services)) if services.contains(&name) => {}
                Some((_, services)) => services.push(name),
                None => grants.push((place, vec![name])),
            }
        }
        grpc.extend(servers.grpc.as_ref().map(|it| located(it, "")));
        let streams = (backend == Backend::Tempo).then_some(servers.otlp_grpc.as_ref());
        grpc.extend(streams.flatten().map(|it| located(it, "")));
    }
    let grants: Vec<Value> = grants
        .into_iter()
        .map(|(place, services)| {
            let services: Vec<Value> = services.into_iter().map(Value::from).collect();
            context! { place, services }
        })
        .collect();
    let external: Vec<Value> = istio::external(document)
        .map(|reached| context! { resource => istio::resource(&reached.name), ..cluster(reached) })
        .collect();
    let services_with_tls: Vec<Value> = istio::with_tls(document)
        .map(|reached| context! { resource => istio::resource(&reached.name), ..cluster(reached) })
        .collect();
    context! {
        configuration => Value::from_safe_string(configuration),
        url => format!("oci://{}", pinned(document)),
        grants,
        grpc,
        external,
        services_with_tls,
        ..common(document)
    }
}

/// What Envoy Gateway's resources are made of, around the gate's document `gate`.
pub(super) fn gateway(document: &Document, gate: &Mapping, form: Form) -> Value {
    let notes: &[Note] = match form {
        Form::Wasm => &hosted::GATEWAY_NOTES,
        Form::Native => &hosted::NATIVE_NOTES,
    };
    let configuration = printer::yaml(gate, 8, notes);
    context! {
        configuration => Value::from_safe_string(configuration),
        native => form == Form::Native,
        url => pinned(document),
        ..common(document)
    }
}

/// The module's image by its digest.
fn pinned(document: &Document) -> String {
    let deployment = &document.deployment;
    let [image, digest] =
        [&deployment.image, &deployment.digest].map(|it| it.clone().unwrap_or_default());
    format!("{image}@sha256:{digest}")
}

fn common(document: &Document) -> Value {
    let deployment = &document.deployment;
    let backend = |backend: Backend| {
        let mut enabled = document.servers();
        let found = enabled.find(|(known, _)| *known == backend);
        found.map_or(Value::from(()), |(_, servers)| view_of(servers, deployment))
    };
    let clusters: Vec<Value> = document.clusters.iter().map(cluster).collect();
    let guarded = guarded(document);
    context! {
        loki => backend(Backend::Loki),
        mimir => backend(Backend::Mimir),
        tempo => backend(Backend::Tempo),
        clusters,
        variables => document.variables.clone(),
        heap => deployment.heap(),
        memory => format!("{}Mi", deployment.memory),
        workers => deployment.workers,
        replicas => deployment.replicas,
        host => deployment.host.clone().unwrap_or_default(),
        digest => deployment.digest.clone().unwrap_or_default(),
        envoy_image => deployment.envoy_image.as_str(),
        tls => context! {
            certificate => deployment.tls.certificate.as_str(),
            key => deployment.tls.key.as_str(),
            secret => deployment.tls.secret.as_str(),
        },
        // `namespace` is a function of the templates.
        home => deployment.namespace.as_str(),
        guarded => guarded.clone(),
        // Where routes and plugins are watched.
        watched => [vec![deployment.namespace.clone()], guarded].concat(),
    }
}

/// The namespaces of the backends, but for the gate's own.
fn guarded(document: &Document) -> Vec<String> {
    let addresses = document.servers().flat_map(|(_, servers)| servers.all());
    let places = addresses.filter_map(|address| Some(address.service()?.1));
    let places: BTreeSet<&str> = places
        .filter(|place| *place != document.deployment.namespace)
        .collect();
    places.into_iter().map(str::to_owned).collect()
}

fn view_of(servers: &Servers, deployment: &Deployment) -> Value {
    let seen = |address: &Option<Address>| {
        let seen = address
            .as_ref()
            .map(|it| located(it, &deployment.trusted_ca));
        seen.unwrap_or(Value::from(()))
    };
    context! {
        url => located(&servers.url, &deployment.trusted_ca),
        grpc => seen(&servers.grpc),
        otlp_http => seen(&servers.otlp),
        otlp_grpc => seen(&servers.otlp_grpc),
    }
}

fn cluster(cluster: &Reached) -> Value {
    context! {
        name => cluster.name.as_str(),
        keys => cluster.keys,
        ..located(&cluster.address, &cluster.trusted_ca)
    }
}

fn located(address: &Address, trusted_ca: &str) -> Value {
    let service = address.service().map(|(name, place)| {
        context! { name, place, host => istio::service_host(name, place) }
    });
    context! {
        host => address.host.as_str(),
        port => address.port,
        tls => address.tls,
        ip => address.is_ip(),
        ca => trusted_ca,
        protocol => if address.tls { "https" } else { "http" },
        service => service.unwrap_or(Value::from(())),
    }
}
