//! The shipped manifests on the real control planes: Istio's and Envoy Gateway's, each with a Kubernetes API of its own,
//! a registry that holds the module's image, and a real Envoy started from the Deployment that the control plane makes.
//!
//! | module | holds |
//! |---|---|
//! | [`namespaces`] | networks, mounts and processes of the run's own, in which all of it runs |
//! | [`network`] | networks of pods |
//! | [`scene`] | the API, the provider, the backends, the registry and the names of all of them |
//! | [`pod`] | what a kubelet does with one pod of a Deployment |
//! | [`product`] | what both products have in common: manifests, a gate, conditions, logs |
//! | [`istio`], [`envoy_gateway`] | each control plane, and its proxy |
//! | [`kubelet`] | what `kubectl logs` asks a kubelet for |
//! | [`case`] | a case, and lists of them |
//! | [`install`] | the product's page, followed word for word |
//! | [`cases`] | what must hold under both |
//! | [`live`] | what callers notice of changes while they ask |
//! | [`sharing`] | what workers share |
//! | [`traffic`] | sizes, paths and retries |
//! | [`streams`] | tails and gRPC, and what becomes of them when a right is withdrawn |
//! | [`native`] | the native module in the place of the one in wasm |
//! | [`replicas`] | two pods, one of which is restarted |
//! | [`rendered`] | what `scopegate render` prints, in the place of the shipped manifests |
//! | [`organizations`] | organizations from resources of the cluster |
//! | [`examples`] | the files from which users start |
//! | [`observability`] | what shows which configuration runs |
//! | [`admission`] | what the API refuses by the shipped policies |
//! | [`helm`] | the Helm chart: installed, upgraded, rolled back and taken away |
//! | [`page`] | the page of the manual that says what was run |
//!
//! A product is started once and its cases run one after the other, each from the shipped manifests. Only its page
//! begins with a product that has nothing of the gate.

mod admission;
mod case;
mod cases;
mod envoy_gateway;
mod examples;
mod helm;
mod install;
mod istio;
mod kubelet;
mod live;
mod namespaces;
mod native;
mod network;
mod observability;
mod organizations;
mod page;
mod pod;
mod product;
mod rendered;
mod replicas;
mod scene;
mod sharing;
mod streams;
mod traffic;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use integration::part::{self, Part};
use integration::{command, envoy, served, trial};
use libtest_mimic::{Arguments, Trial};
use tokio::runtime::Runtime;

use product::{Kind, Product};

const NEEDED: &[Part] = &[part::KUBERNETES, part::CONTROL_PLANES];
const WITH_HELM: &[Part] = &[part::KUBERNETES, part::CONTROL_PLANES, part::HELM];

fn main() -> ExitCode {
    if let Some(code) = command::as_command().or_else(served::as_command) {
        return code;
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    if arguments.list || namespaces::is_inside() {
        let (stage, tests) = tests();
        let conclusion = libtest_mimic::run(&arguments, tests);
        drop(stage);
        return conclusion.exit_code();
    }
    match namespaces::enter() {
        Ok(code) => code,
        Err(reason) => {
            let skipped = names().map(|name| trial::skipped(&name, &format!("{reason:#}")));
            libtest_mimic::run(&arguments, skipped.collect()).exit_code()
        }
    }
}

fn names() -> impl Iterator<Item = String> {
    let cases = Kind::ALL
        .into_iter()
        .flat_map(|kind| running(kind).map(move |(name, _)| format!("{}::{name}", kind.name())));
    cases.chain([page::NAME.to_owned()])
}

fn cases_of(kind: Kind) -> impl Iterator<Item = &'static (&'static str, case::Case)> {
    let lists = [
        // From nothing.
        install::ALL,
        // Then what looks at the logs from their beginning.
        traffic::only(kind),
        sharing::ALL,
        traffic::ALL,
        observability::ALL,
        admission::ALL,
        streams::ALL,
        // These replace the manifests, and the pods with them.
        helm::ALL,
        organizations::ALL,
        examples::ALL,
        replicas::ALL,
        native::only(kind),
        // Last what restarts the proxy and the control plane.
        cases::ALL,
    ];
    lists.into_iter().flatten()
}

/// Those that run: with `make HOST=native` those of Envoy Gateway that are not about the module in wasm.
fn running(kind: Kind) -> impl Iterator<Item = &'static (&'static str, case::Case)> {
    let native = envoy::native().is_some();
    cases_of(kind).filter(move |(name, _)| {
        !native || (kind == Kind::EnvoyGateway && native::is_for_both(name))
    })
}

fn tests() -> (Arc<Stage>, Vec<Trial>) {
    let stage = Arc::new(Stage::default());
    let mut tests = Vec::new();
    for kind in Kind::ALL {
        for (name, case) in running(kind) {
            let stage = Arc::clone(&stage);
            let needed = if name.starts_with("helm_") {
                WITH_HELM
            } else {
                NEEDED
            };
            let full = format!("{}::{name}", kind.name());
            tests.push(trial::needing(&full, needed, move || {
                stage.run(kind, (name, *case))
            }));
        }
    }
    let shown = Arc::clone(&stage);
    tests.push(trial::needing(page::NAME, NEEDED, move || shown.show()));
    (stage, tests)
}

/// One product, from the first case that needs it until a case needs the other one, which wants the same ports.
#[derive(Default)]
struct Stage {
    running: Mutex<Option<(Runtime, Product)>>,
    seen: Mutex<page::Seen>,
}

impl Stage {
    fn run(&self, kind: Kind, (name, case): (&'static str, case::Case)) -> Result<()> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.as_ref().is_none_or(|(_, it)| it.kind != kind) {
            drop(running.take());
            let runtime = Runtime::new()?;
            let product = runtime.block_on(Product::open(kind))?;
            *running = Some((runtime, product));
        }
        let (runtime, product) = running.as_mut().context("nothing runs")?;
        let outcome = runtime.block_on(async {
            if name != install::NAME {
                product.begin().await?;
            }
            case(product).await
        });
        let facts = product.take_facts();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.note(kind, name, outcome.is_ok(), facts);
        outcome.with_context(|| runtime.block_on(product.told()))
    }

    fn show(&self) -> Result<()> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        page::show(&seen)
    }
}
