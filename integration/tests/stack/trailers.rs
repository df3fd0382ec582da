//! Trailers behind the calls of one tenant, and the calls of another over the same connection to the backend.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use futures_util::future::try_join_all;
use integration::client::h2::{self, Piece};
use integration::client::{RawRequest, Reply};
use integration::grpc::{self, EXPORT_TRACES};
use integration::stack::collector::Exporter;
use integration::stack::{ACME, GLOBEX};

use crate::scene::Scene;
use crate::side_gate::SideGate;

crate::tests![trailers_of_one_tenant_end_no_call_of_another];

/// A gRPC server in Go, as the backends are, takes trailers of a client for a fault of the whole connection, and Envoy
/// sends the calls of all tenants over one.
async fn trailers_of_one_tenant_end_no_call_of_another(scene: &Scene) -> Result<()> {
    let backend = scene.stack.collector(GLOBEX, Exporter::Http).await?;
    // With one worker there is one connection.
    let side_gate = SideGate::start(scene, scene.stack.configuration(), |settings| {
        let settings = settings.concurrency(1);
        settings.cluster("tempo_otlp_grpc", backend.grpc())
    })
    .await?;
    side_gate.wait_for_keys().await?;
    let attacker = scene.token("agent-acme").await?;
    let victim = scene.token("agent-globex").await?;

    let over = AtomicBool::new(false);
    let victims = try_join_all((0..VICTIMS).map(|_| calls(&side_gate, &victim, &over)));
    let attack = async {
        let trailers = Piece::Trailers(vec![(b"x".to_vec(), b"y".to_vec())]);
        let pieces = [Piece::Data(empty_message(), false), trailers];
        let mut answers = Vec::new();
        for _ in 0..ATTACKS {
            tokio::time::sleep(Duration::from_secs(1)).await;
            answers.push(call(&side_gate, &attacker, ACME, &pieces).await);
        }
        over.store(true, Ordering::Relaxed);
        answers
    };
    let (victims, attacks) = tokio::join!(victims, attack);
    let answers: Vec<Reply> = victims?.into_iter().flatten().collect();
    let failed: Vec<&Reply> = answers
        .iter()
        .filter(|answer| answer.grpc_status() != Some(0))
        .collect();
    eprintln!("{} calls beside {ATTACKS} with trailers", answers.len());
    ensure!(answers.len() >= 50, "only {} calls", answers.len());
    ensure!(
        failed.is_empty(),
        "{} of {} calls of the other tenant failed, the first with status {:?}: {:?}",
        failed.len(),
        answers.len(),
        failed[0].grpc_status(),
        failed[0].header("grpc-message")
    );
    for answer in attacks {
        let answer = answer?;
        ensure!(answer.grpc_status() == Some(0), "{answer:?}");
    }
    Ok(())
}

/// One call after the other until the attack is over, each slow enough to be under way when it comes.
async fn calls(side_gate: &SideGate, token: &str, over: &AtomicBool) -> Result<Vec<Reply>> {
    let message = empty_message();
    let (first, rest) = message.split_at(2);
    let pieces = [
        Piece::Data(first.to_vec(), false),
        Piece::Pause(Duration::from_millis(300)),
        Piece::Data(rest.to_vec(), true),
    ];
    let mut answers = Vec::new();
    while !over.load(Ordering::Relaxed) {
        answers.push(call(side_gate, token, GLOBEX, &pieces).await?);
    }
    Ok(answers)
}

async fn call(side_gate: &SideGate, token: &str, tenant: &str, pieces: &[Piece]) -> Result<Reply> {
    let request = RawRequest::post(EXPORT_TRACES, "")
        .bearer(token)
        .tenant(tenant)
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    h2::exchange_pieces(&side_gate.target, &request, pieces).await
}

fn empty_message() -> Vec<u8> {
    grpc::framed(b"").to_vec()
}

const ATTACKS: usize = 4;
const VICTIMS: usize = 8;
