//! Two pods of the proxy, one of which is restarted while requests go on.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use integration::client::{Protocol, Target};

use crate::case::cases;
use crate::product::{Product, reader};

cases![ALL: a_replica_is_restarted_under_load];

/// Requests go to the pods that are ready, in turn, as a Service has it.
async fn a_replica_is_restarted_under_load(product: &mut Product) -> Result<()> {
    let before = product.scene.issuer.fetches().jwks;
    product.start_second_proxy().await?;
    let outcome = restart(product, before).await;
    product.stop_second_proxy();
    outcome
}

async fn restart(product: &mut Product, before: usize) -> Result<()> {
    let second = product.second_target();
    product.until_status_at(&second, &reader(), 200).await?;
    let fetched = product.scene.issuer.fetches().jwks - before;
    ensure!(fetched == 1, "the second pod has fetched {fetched} times");

    // Which of them are ready: bits.
    let ready = AtomicUsize::new(0b11);
    let done = AtomicBool::new(false);
    let first = product.target();
    let targets = [first, second];
    let load = async {
        let mut statuses: BTreeMap<(usize, u16), usize> = BTreeMap::new();
        let mut turn = 0_usize;
        while !done.load(Ordering::Relaxed) {
            turn += 1;
            let pod = turn % 2;
            if ready.load(Ordering::Relaxed) & (1 << pod) == 0 {
                continue_soon().await;
                continue;
            }
            let status = status(&targets[pod]).await;
            *statuses.entry((pod, status)).or_default() += 1;
            continue_soon().await;
        }
        statuses
    };
    let restarted = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        // What a cluster does with a pod that is to end: first nobody is sent there any more.
        ready.store(0b10, Ordering::Relaxed);
        let took = product.end_proxy_gracefully().await?;
        product.start_proxy().await?;
        product.until_status(&reader(), 200).await?;
        ready.store(0b11, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(1)).await;
        anyhow::Ok(took)
    };
    let restarted = async {
        let outcome = restarted.await;
        done.store(true, Ordering::Relaxed);
        outcome
    };
    let (statuses, took) = tokio::join!(load, restarted);
    let took = took?;
    ensure!(
        statuses.keys().all(|(_, status)| *status == 200) && statuses.len() == 2,
        "{statuses:?}"
    );
    let sent: usize = statuses.values().sum();
    ensure!(sent > 100, "{sent} requests");
    let fetched = product.scene.issuer.fetches().jwks - before;
    ensure!(fetched == 2, "{fetched} fetches of two pods that started");
    product.measured("a pod that is to end is gone", took);
    product.noted(&format!("{sent} requests to two pods, none lost"));
    Ok(())
}

/// 0 stands for no answer.
async fn status(target: &Target) -> u16 {
    let reply = reader().send(target, Protocol::H2).await;
    reply.map_or(0, |reply| reply.status)
}

async fn continue_soon() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}
