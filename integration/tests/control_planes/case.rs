//! A case, and lists of them.

use std::pin::Pin;
use std::time::Instant;

use anyhow::{Result, ensure};

use crate::product::{LIVE, Product};

/// What must hold, from the shipped manifests on.
pub type Case = for<'p> fn(&'p mut Product) -> Pin<Box<dyn Future<Output = Result<()>> + 'p>>;

/// Cases with their names, in the order in which they run.
pub type List = &'static [(&'static str, Case)];

/// A `List` of functions.
macro_rules! cases {
    ($list:ident: $($name:ident),* $(,)?) => {
        pub const $list: $crate::case::List = &[$((
            stringify!($name),
            |product| Box::pin($name(product)),
        )),*];
    };
}

pub(crate) use cases;

/// How often a log says that. It is kept from case to case.
pub fn said(log: &str, what: &str) -> usize {
    log.matches(what).count()
}

/// Wait until that holds, and no longer than a change may take.
pub async fn until(holds: impl AsyncFn() -> bool, what: &str, product: &Product) -> Result<()> {
    let started = Instant::now();
    while !holds().await {
        ensure!(
            started.elapsed() < LIVE,
            "{}: never {what}",
            product.kind.name()
        );
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    Ok(())
}
