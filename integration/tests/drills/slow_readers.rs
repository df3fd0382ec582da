//! Clients of one tenant that do not read their answers, beside another tenant's calls to the same backend.

use anyhow::{Context, Result, ensure};
use integration::drill;
use serde_json::json;

use crate::report::Row;
use crate::victim::Street;

/// However many there are, they neither take the other tenant's answers away nor more memory than the settings allow.
pub async fn as_shipped() -> Result<Row> {
    let street = Street::start(drill::configuration(), false, |settings| settings).await?;
    let before = street.memory().await?;
    let mut beside = Vec::new();
    for count in [FEW, NEARLY] {
        let slow = street.slow_readers(count).await?;
        beside.extend(street.windows(WINDOWS).await);
        drop(slow);
        street.wait_for_silence().await?;
    }

    let many = street.slow_readers(MANY).await?;
    beside.extend(street.windows(WINDOWS).await);
    let open = street.hose.open();
    ensure!(open == MANY, "{open} of {MANY} slow readers are served");
    let held = street.memory().await?.saturating_sub(before) / u64::try_from(MANY)?;
    ensure!(held < PER_READER, "{held} bytes for each slow reader");
    let connections = street.hose.connections();
    let enough = MANY.div_ceil(STREAMS);
    ensure!(
        (enough..=enough + 1).contains(&connections),
        "{connections} connections to the backend"
    );
    drop(many);
    let note = format!(
        "{FEW}, {NEARLY}, then {MANY}, each held {} KiB, over {connections} connections",
        held >> 10
    );
    street.row(&beside, &note)
}

/// If there are more slow readers than Envoy has memory for, some of them are reset, and nobody else is.
pub async fn beyond_memory() -> Result<Row> {
    let street = Street::start(drill::configuration(), false, |settings| {
        settings.edit(|bootstrap| {
            let monitors =
                bootstrap.value()["overload_manager"]["resource_monitors"].as_array_mut();
            let heap = monitors
                .context("no monitors")?
                .iter_mut()
                .find(|monitor| monitor["name"] == json!("envoy.resource_monitors.fixed_heap"))
                .context("no bound of the heap")?;
            heap["typed_config"]["max_heap_size_bytes"] = json!(HEAP);
            Ok(())
        })
    })
    .await?;
    // In parts, so that Envoy, which looks at its memory four times a second, sees it grow.
    let mut slow = Vec::new();
    for _ in 0..PARTS {
        slow.extend(street.slow_readers(MANY / PARTS).await?);
    }
    let beside = street.windows(WINDOWS).await;
    let memory = street.memory().await?;
    let reset = MANY.saturating_sub(street.hose.open());
    drop(slow);
    ensure!(reset > 0, "none of {MANY} was reset at {memory} bytes");
    ensure!(memory < HEAP, "{memory} bytes, of which {HEAP} are there");
    let note = format!(
        "{reset} of {MANY} were reset, and {} MiB were held where {} are allowed",
        memory >> 20,
        HEAP >> 20
    );
    street.row(&beside, &note)
}

const FEW: usize = 8;
/// Nearly as many streams as a connection carries, so that the victim's calls use the same connection. What the
/// readers leave unread is in its window, and so is what has been read, until that is half of the window and is given
/// back.
const NEARLY: usize = 95;
const MANY: usize = 300;
const PARTS: usize = 3;
const WINDOWS: u32 = 3;
/// The number of streams that the shipped bootstrap allows on a connection to a backend.
const STREAMS: usize = 100;
/// 256 KiB of a window on the backend's side and as much on the reader's, and what a connection and a stream take.
const PER_READER: u64 = 640 << 10;
/// Enough for about half of the many readers.
const HEAP: u64 = 160 << 20;
