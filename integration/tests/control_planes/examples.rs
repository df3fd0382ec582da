//! The files from which users start, as `scopegate render` prints them, before providers of the shapes that they are for.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, ensure};
use integration::examples::asked::{Asked, status};
use integration::examples::attempt::{Attempt, as_explained, attempts};
use integration::examples::example::Example;
use integration::examples::library::Library;
use integration::examples::with_more;
use integration::identity::ALLOWED;
use integration::server::Server;
use integration::terminator::terminate_at;
use serde_json::json;

use crate::case::cases;
use crate::product::Product;
use crate::rendered::{Rendered, with_digest};

cases![ALL: each_example_decides_as_explained];

/// The first host of a provider; the others follow.
const HOSTS: [u8; 3] = [10, 1, 4];

async fn each_example_decides_as_explained(product: &mut Product) -> Result<()> {
    let everything = with_more()?;
    let library = Library::of(everything.iter().map(|(example, _)| example))?;
    let documents = library.serve().await?;
    let mut doors: Vec<Server> = Vec::new();
    // One of them has the name of the shipped files' provider, and takes its place.
    product.scene.provider.down().await;
    for (host, number) in library.hosts().into_iter().zip(1..) {
        let [a, b, c] = HOSTS;
        let address = match product.scene.address_of(host) {
            Some(address) => address,
            None => Ipv4Addr::new(a, b, c, number),
        };
        product.scene.put_name(host, address)?;
        let (authority, to) = (&product.scene.authority, documents.address());
        doors.push(terminate_at((address, 443).into(), authority, host, to)?);
    }
    let mut sent = 0;
    let mut before = None;
    let mut outcome = Ok(());
    for (example, requests) in &everything {
        let mut document = example.document.clone();
        with_digest(&mut document, product)?;
        // Envoy Gateway's own metrics have port 8080 of every address here.
        let url = &mut document["deployment"]["backends"]["mimir"]["url"];
        *url = json!(url.as_str().context("no URL")?.replace(":8080", ":9009"));
        let rendered = Rendered::put(product, &document).await?;
        outcome = holds(product, &library, (example, requests), &mut sent).await;
        outcome = outcome.with_context(|| example.name.clone());
        // The next one takes its place; the shipped ones come back at the end.
        before = Some(match before {
            None => rendered,
            Some(first) => rendered.after(first),
        });
        if outcome.is_err() {
            break;
        }
    }
    drop(doors);
    product.scene.provider.up().await?;
    let back = before.context("no examples")?.take_back(product).await;
    product.noted(&format!("{} files, {sent} requests", everything.len()));
    outcome.and(back)
}

async fn holds(
    product: &Product,
    library: &Library,
    (example, requests): (&Example, &[Asked]),
    sent: &mut usize,
) -> Result<()> {
    let recipe = library.recipe(example)?;
    // Keys, routes and backends come one after the other.
    let mut allowed = requests.iter().filter(|asked| asked.expect == ALLOWED);
    let first = allowed.next().context("nothing is allowed")?;
    let token = first.token(example, recipe)?;
    let first = first.sent(recipe, Some(&token))?;
    product.until_status(&first, 200).await?;
    for asked in requests {
        let token = asked.token(example, recipe)?;
        let said = asked.explained(example)?;
        for attempt in attempts(asked, &token, example, recipe)? {
            *sent += 1;
            let what = format!("{}: {}", asked.title, attempt.what);
            came_to(product, asked, attempt, &said["forwarded"])
                .await
                .context(what)?;
        }
    }
    Ok(())
}

async fn came_to(
    product: &Product,
    asked: &Asked,
    attempt: Attempt,
    forwarded: &serde_json::Value,
) -> Result<()> {
    let status = status(&attempt.code)?;
    if attempt.code == ALLOWED {
        let seen = product.pass(&attempt.request).await?;
        return as_explained(&seen, forwarded, asked);
    }
    let reply = product.refuse(&attempt.request, status).await?;
    ensure!(reply.status == status, "{reply:?}");
    Ok(())
}
