//! What changes meanwhile.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use integration::client::RawRequest;
use integration::drill;
use integration::envoy::Update;
use integration::issuer::{AnswerMode, PublishedKey};
use tokio::task::JoinHandle;

use crate::{Site, configuration, organizations};

/// How long nothing changes after a change.
const PAUSE: Duration = Duration::from_secs(3);

/// Starts the changes, one after the other until the time is up. They end with the number of workers that were to die.
pub fn start(site: &Arc<Site>) -> JoinHandle<Result<u64>> {
    let site = Arc::clone(site);
    tokio::spawn(async move {
        let mut number = 0;
        let mut deaths = 0;
        while site.goes_on() {
            number += 1;
            let is_death = change(&site, number).await?;
            deaths += u64::from(is_death);
            site.pause(PAUSE).await;
        }
        site.corporate.set_answer(AnswerMode::Good);
        site.organizations.publish(organizations(number + 2));
        Ok(deaths)
    })
}

/// The change of that number. Returns whether a worker was to die.
async fn change(site: &Site, number: u64) -> Result<bool> {
    match number % 12 {
        0 | 4 | 8 => {
            let update = site
                .envoy
                .replace_configuration(&configuration(number))
                .await?;
            ensure!(update == Update::Accepted, "{update:?}");
        }
        1 | 7 => site.organizations.publish(organizations(number + 1)),
        2 => site
            .corporate
            .add_key(PublishedKey::named("p256-b").with_kid(&format!("next-{number}"))),
        3 => {
            let kid = format!("next-{}", number - 1);
            site.corporate.remove_key(&kid);
        }
        5 => site.corporate.set_answer(AnswerMode::Status(500)),
        6 => site.corporate.set_answer(AnswerMode::Good),
        9 => site.organizations.fail(503),
        10 => {
            let mut bad = configuration(number);
            bad["providers"][0]["jwks"]["cluster"] = 7.into();
            let update = site.envoy.replace_configuration(&bad).await?;
            ensure!(update != Update::Accepted, "a bad one is taken");
        }
        _ if site.mortal => {
            let push = RawRequest::post("/loki/api/v1/push", "{}")
                .bearer(&drill::token_of("agent")?)
                .tenant("acme")
                .header("x-crash", "1");
            let _ = drill::send(&site.envoy, &push).await;
            return Ok(true);
        }
        _ => {}
    }
    Ok(false)
}
