//! The shipped manifests on the real control planes: Istio's and Envoy Gateway's, each with a Kubernetes API of its own,
//! a registry that holds the module's image, and a real Envoy started from the Deployment that the control plane makes.
//!
//! | module | holds |
//! |---|---|
//! | [`namespaces`] | networks, mounts and processes of the run's own, in which all of it runs |
//! | [`scene`] | the API, the provider, the backends, the registry and the names of all of them |
//! | [`pod`] | what a kubelet does with one pod of a Deployment |
//! | [`product`] | what both products have in common: manifests, a gate, conditions, logs |
//! | [`istio`], [`envoy_gateway`] | each control plane, and its proxy |
//! | [`cases`] | what must hold under both |
//! | [`live`] | what callers notice of changes while they ask |
//!
//! A product is started once and its cases run one after the other, each from the shipped manifests.

mod cases;
mod envoy_gateway;
mod istio;
mod live;
mod namespaces;
mod pod;
mod product;
mod scene;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use integration::part::{self, Part};
use integration::trial;
use libtest_mimic::{Arguments, Trial};
use tokio::runtime::Runtime;

use product::{Kind, Product};

const NEEDED: &[Part] = &[part::KUBERNETES, part::CONTROL_PLANES];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    if arguments.list || namespaces::is_inside() {
        let stage = Arc::new(Stage::default());
        let conclusion = libtest_mimic::run(&arguments, tests(&stage));
        stage.clear();
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
    cases().map(|(name, ..)| name)
}

/// Each case under each product, by its whole name.
fn cases() -> impl Iterator<Item = (String, Kind, cases::Case)> {
    Kind::ALL.into_iter().flat_map(|kind| {
        let cases = cases::ALL.iter();
        cases.map(move |(name, case)| (format!("{}::{name}", kind.name()), kind, *case))
    })
}

fn tests(stage: &Arc<Stage>) -> Vec<Trial> {
    let tests = cases().map(|(name, kind, case)| {
        let stage = Arc::clone(stage);
        trial::needing(&name, NEEDED, move || stage.run(kind, case))
    });
    tests.collect()
}

/// The product that runs: both want the same ports.
#[derive(Default)]
struct Stage(Mutex<Option<(Runtime, Product)>>);

impl Stage {
    /// Runs a case of a product, which is started if it is not the one that runs.
    fn run(&self, kind: Kind, case: cases::Case) -> Result<()> {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        running.take_if(|(_, product)| product.kind != kind);
        if running.is_none() {
            let runtime = Runtime::new()?;
            let product = runtime.block_on(Product::start(kind))?;
            *running = Some((runtime, product));
        }
        let (runtime, product) = running.as_mut().context("nothing runs")?;
        let outcome = runtime.block_on(async {
            product.begin().await?;
            case(product).await
        });
        outcome.with_context(|| runtime.block_on(product.told()))
    }

    fn clear(&self) {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(running.take());
    }
}
