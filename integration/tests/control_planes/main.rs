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
//!
//! A product is started once and its cases run one after the other, each from the shipped manifests.

mod cases;
mod envoy_gateway;
mod istio;
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
        let (scenes, tests) = tests();
        let conclusion = libtest_mimic::run(&arguments, tests);
        drop(scenes);
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
    Kind::ALL.into_iter().flat_map(|kind| {
        let cases = cases::ALL.iter();
        cases.map(move |(name, _)| format!("{}::{name}", kind.name()))
    })
}

fn tests() -> (Vec<Arc<Stage>>, Vec<Trial>) {
    let mut stages = Vec::new();
    let mut tests = Vec::new();
    for kind in Kind::ALL {
        let stage = Arc::new(Stage::new(kind));
        for (name, case) in cases::ALL {
            let stage = Arc::clone(&stage);
            let name = format!("{}::{name}", kind.name());
            tests.push(trial::needing(&name, NEEDED, move || stage.run(*case)));
        }
        // The other product wants the same ports.
        let ending = Arc::clone(&stage);
        tests.push(trial::needing(
            &format!("{}::it_ends", kind.name()),
            NEEDED,
            move || {
                ending.end();
                Ok(())
            },
        ));
        stages.push(stage);
    }
    (stages, tests)
}

/// One product, from the first case that needs it to the last.
struct Stage {
    kind: Kind,
    running: Mutex<Option<(Runtime, Product)>>,
}

impl Stage {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            running: Mutex::default(),
        }
    }

    fn run(&self, case: cases::Case) -> Result<()> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.is_none() {
            let runtime = Runtime::new()?;
            let product = runtime.block_on(Product::start(self.kind))?;
            *running = Some((runtime, product));
        }
        let (runtime, product) = running.as_mut().context("nothing runs")?;
        let outcome = runtime.block_on(async {
            product.begin().await?;
            case(product).await
        });
        outcome.with_context(|| runtime.block_on(product.told()))
    }

    fn end(&self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        drop(running.take());
    }
}
