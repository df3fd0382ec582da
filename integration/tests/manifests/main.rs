//! The files that operators copy: the manifests under `envoy/istio`, `envoy/gateway` and `envoy/kustomize`, and those
//! for clients.
//!
//! | module | asks |
//! |---|---|
//! | [`schemas`] | does each resource satisfy its definition, and would a mistake be noticed |
//! | [`bases`] | can kustomize build them, and is everything in a pod where its Envoy looks for it |
//! | [`plugin`] | does the gate accept the configuration in them; does it agree with `envoy/envoy.yaml` |
//! | [`routing`] | does every endpoint have exactly one route, and does none lead past the gate |
//! | [`gateway`] | the same in a real Envoy, with the module and without it |
//! | [`windows`] | can slow readers of one tenant keep the others from their answers |
//! | [`watching`] | the same for the files under `envoy/monitoring`; is the dashboard a valid one |
//! | [`clients`] | can the clients read their files |

mod bases;
mod clients;
mod documents;
mod gateway;
mod plugin;
mod routes;
mod routing;
mod schemas;
mod watching;
mod windows;

use std::process::ExitCode;

use libtest_mimic::Arguments;

fn main() -> ExitCode {
    let tests = [
        bases::tests(),
        clients::tests(),
        gateway::tests(),
        plugin::tests(),
        routing::tests(),
        schemas::tests(),
        watching::tests(),
        windows::tests(),
    ];
    libtest_mimic::run(
        &Arguments::from_args(),
        tests.into_iter().flatten().collect(),
    )
    .exit_code()
}
