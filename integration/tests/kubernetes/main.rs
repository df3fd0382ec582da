//! `scopegate serve-organizations` with a real Kubernetes API: etcd and kube-apiserver on loopback, the shipped
//! service account and role, and a definition of the resource. In addition, what the API says about the kustomize
//! base for plain Envoy.
//!
//! There is one cluster for all tests, which run one after the other. Each begins with the definition and without a
//! resource.

mod cases;
mod cluster;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use cluster::Cluster;
use integration::{part, served, trial};
use libtest_mimic::{Arguments, Trial};
use tokio::runtime::Runtime;

fn main() -> ExitCode {
    if let Some(code) = served::as_command() {
        return code;
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let scene = Arc::new(Scene::default());
    let conclusion = libtest_mimic::run(&arguments, tests(&scene));
    scene.end();
    conclusion.exit_code()
}

/// A test in the cluster.
macro_rules! cases {
    ($scene:expr, $($name:ident),* $(,)?) => {
        vec![$({
            let scene = Arc::clone($scene);
            trial::needing(stringify!($name), &[part::KUBERNETES], move || {
                scene.run(async |cluster| cases::$name(cluster).await)
            })
        }),*]
    };
}

fn tests(scene: &Arc<Scene>) -> Vec<Trial> {
    cases![
        scene,
        what_is_created_changed_and_deleted_is_served_at_once,
        rights_of_a_tenant_in_several_resources_add_up,
        a_resource_that_is_going_grants_nothing,
        a_resource_that_does_not_convert_blocks_no_other,
        replicas_say_the_same_byte_for_byte,
        a_replica_that_came_later_is_no_step_back,
        the_older_version_is_read_where_there_is_no_other,
        the_definition_may_go_and_come_back,
        before_there_is_a_definition_nothing_is_served,
        the_shipped_manifests_are_built_and_accepted,
        plain_envoy_is_accepted_where_pods_may_do_little,
        the_shipped_role_suffices_and_permits_nothing_else,
        a_role_that_is_withdrawn_takes_nothing_away,
        an_outage_longer_than_a_resync_loses_nothing,
        ten_thousand_organizations,
    ]
}

/// The cluster, from the first test that needs it to the end.
#[derive(Default)]
struct Scene {
    running: Mutex<Option<(Runtime, Cluster)>>,
}

impl Scene {
    fn run(&self, case: impl AsyncFnOnce(&mut Cluster) -> Result<()>) -> Result<()> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.is_none() {
            let runtime = Runtime::new()?;
            let cluster = runtime.block_on(Cluster::start())?;
            *running = Some((runtime, cluster));
        }
        let (runtime, cluster) = running.as_mut().context("no cluster")?;
        runtime.block_on(async {
            cluster.clear().await?;
            case(cluster).await
        })
    }

    fn end(&self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        drop(running.take());
    }
}
