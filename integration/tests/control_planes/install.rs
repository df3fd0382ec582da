//! The gate is put into a cluster as the product's page describes it, from nothing.
//!
//! The page is the script: an administrator types its commands into a shell, with the real programs `kubectl`, `crane`
//! and `scopegate`, and they must print what the page shows. Meanwhile the run does what a kubelet would.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use integration::client::RawRequest;
use integration::walkthrough::page::Page;
use integration::walkthrough::session::{Pace, Session};
use integration::{drill, part, paths};
use serde_json::json;
use tokio::time::sleep;

use crate::case::cases;
use crate::product::{Kind, Product, by, token};
use crate::scene::{HOST, POD};

cases![ALL: the_page_installs_it];

/// The group on the page.
const TEAM: &str = "shop-team";

/// How long anything may take that is changed: the first routes of Envoy Gateway, and in Istio an image behind one that
/// could not be fetched, were served after eight to more than ten seconds.
const PATIENCE: Duration = Duration::from_secs(180);

/// Its name, because it begins with nothing.
pub const NAME: &str = "the_page_installs_it";

async fn the_page_installs_it(product: &mut Product) -> Result<()> {
    let outcome = walk(product).await;
    product.stop_second_proxy();
    // They would refuse what other cases do on purpose.
    for file in product.kind.extras() {
        for document in product.shipped(file)?.iter().rev() {
            product.scene.api.delete(document).await?;
        }
    }
    outcome
}

async fn walk(product: &mut Product) -> Result<()> {
    let walk = Walk::open(product)?;
    let started = Instant::now();
    while !has_begun(product).await {
        ensure!(started.elapsed() < PATIENCE, "no GatewayClass of Istio's");
        sleep(Duration::from_millis(50)).await;
    }
    let walk = walk.go_on("What is there already").await?;
    let mut walk = walk.go_on("The image").await?;
    let file = "The gate in one file";
    walk.save(file)?;
    let walk = walk.go_on(file).await?;

    // While the administrator waits for pods, somebody makes them.
    let (walk, made) = tokio::join!(walk.go_on("The gate first"), make_pods(product));
    let walk = walk?;
    made?;
    let log = product.scene.log.clone();
    ensure!(log.count() == 0, "{:?}", log.all());
    let walk = walk.go_on("The routes last").await?;
    // A reader takes longer than the control plane.
    let allowed = as_member("shop");
    let took = product.until_status_within(PATIENCE, &allowed, 200).await?;
    product.measured("the first routes are live", took);
    let second = product.second_target();
    product.until(&second, PATIENCE, &allowed, 200).await?;
    log.clear();
    let walk = walk.go_on("What each pod runs").await?;

    let walk = walk.go_on("Who gets in").await?;
    ensure!(log.count() == 0, "{:?}", log.all());
    let walk = walk.go_on("A member").await?;
    let seen = log.all();
    let backends: Vec<&str> = seen.iter().map(|seen| seen.backend.as_str()).collect();
    ensure!(backends == ["loki", "mimir"], "{seen:?}");
    for seen in &seen {
        ensure!(seen.header("x-scope-orgid") == [b"shop"], "{seen:?}");
        ensure!(seen.header("authorization").is_empty(), "{seen:?}");
        ensure!(seen.header("x-scopegate-backend").is_empty(), "{seen:?}");
    }
    log.clear();
    let walk = walk.go_on("Nobody else").await?;
    ensure!(log.count() == 0, "{:?}", log.all());

    product.refuse(&as_member("shop-eu"), 403).await?;
    let walk = walk.go_on("A tenant is added").await?;
    let walk = walk.go_on("A configuration that is refused").await?;
    let walk = walk.go_on("That it fails closed").await?;
    let walk = walk.go_on("The other ways").await?;
    walk.page.end()
}

/// Whether the product has made what it makes of nothing.
async fn has_begun(product: &Product) -> bool {
    let class = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "GatewayClass",
        "metadata": {"name": "istio"},
    });
    product.kind != Kind::Istio || product.scene.api.get(&class).await.is_ok()
}

/// As many as the Deployment wants.
async fn make_pods(product: &mut Product) -> Result<()> {
    product.start_proxy().await?;
    product.start_second_proxy().await
}

/// The terminal, and what of the page has not been typed there.
struct Walk {
    session: Session,
    page: Page,
}

impl Walk {
    fn open(product: &Product) -> Result<Self> {
        let (page, address) = match product.kind {
            Kind::Istio => ("docs/istio.md", format!("{POD}:443")),
            Kind::EnvoyGateway => ("docs/envoy-gateway.md", format!("{POD}:10443")),
        };
        let scene = &product.scene;
        let mut session = Session::bare(Pace::Next(PATIENCE))?;
        let work = session.work();
        let kubectl = part::KUBERNETES.find()?.join("bin/kubectl");
        session.program("kubectl", &kubectl)?;
        let crane = part::CONTROL_PLANES.find()?.join("bin/crane");
        session.program("crane", &crane)?;
        let administrator = work.join("administrator.kubeconfig");
        fs::write(&administrator, scene.api.admin_kubeconfig())?;
        session.export("KUBECONFIG", &administrator.display().to_string());

        // A checkout in which the module has been built.
        session.script("make", "#!/bin/sh\nexec /usr/bin/make -o wasm \"$@\"\n")?;
        for name in ["Makefile", "Cargo.toml", "integration"] {
            symlink(paths::repository().join(name), work.join(name))?;
        }
        fs::create_dir(work.join("target"))?;
        symlink(drill::module()?, work.join("target/scopegate.wasm"))?;

        let (certificate, key) = scene.authority.issue(&[HOST])?;
        fs::write(work.join("tls.crt"), certificate)?;
        fs::write(work.join("tls.key"), key)?;
        session.believe(&scene.authority)?;
        session.lead(&[("observability.example.com:443", address)])?;
        session.export("ALICE", &token(&[TEAM])?);
        let page = Page::read(page)?;
        Ok(Self { session, page })
    }

    /// Save the file that stands under that heading.
    fn save(&mut self, heading: &str) -> Result<()> {
        self.session.save(&self.page.block(heading, "yaml")?)
    }

    /// Type what stands there, while everything else goes on.
    async fn go_on(mut self, heading: &'static str) -> Result<Self> {
        tokio::task::spawn_blocking(move || {
            self.session.go_on(&mut self.page, heading)?;
            Ok(self)
        })
        .await?
    }
}

/// A member of the shop's team asks for that tenant.
fn as_member(tenant: &str) -> RawRequest {
    by(&[TEAM], RawRequest::get("/loki/api/v1/labels"), tenant)
}
