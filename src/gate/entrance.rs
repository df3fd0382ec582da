//! Requests that are answered before the caller has shown who it is.

use super::head::request_line;
use super::outcome::{DecisionFacts, Stop};
use super::{Gate, Grants};
use crate::authz::endpoint::Endpoints;
use crate::words::denial::Denial;
use crate::words::method::Methods;
use crate::words::origin::Origin;
use crate::words::own_answer::{OwnAnswer, Unhealthy};
use crate::words::request::{Head, Occurrence};
use crate::words::time::Time;

impl Gate {
    /// Answers requests before the caller has shown who it is: health checks, and the requests
    /// that browsers send ahead of those of a page (Fetch standard, "CORS-preflight request").
    pub(super) fn at_the_entrance(
        &self,
        head: &Head<'_>,
        (method, path): (&[u8], &[u8]),
        endpoints: &Endpoints,
        time: Time,
        facts: &mut DecisionFacts<'_>,
    ) -> Result<(), Stop> {
        // Envoy would answer such a request in the form of gRPC, with a status that says
        // nothing.
        let grpc = head.resembles_grpc();
        if self.is_health_path(path) && !grpc {
            return match method {
                b"GET" | b"HEAD" => Err(self.health(time).into()),
                _ => Err(Denial::MethodNotAllowed(Methods::GET.or(Methods::HEAD)).into()),
            };
        }
        if method == b"OPTIONS"
            && !grpc
            && self.listed_origin(head).is_some()
            && let Occurrence::Once(asked) = head.asked_method
            && let Ok(endpoint) = endpoints.find(path, asked)
        {
            facts.endpoint = Some(endpoint);
            return Err(OwnAnswer::Preflight(endpoint.methods).into());
        }
        Ok(())
    }

    fn is_health_path(&self, path: &[u8]) -> bool {
        let health = self.config.entrance.health.as_ref();
        health.is_some_and(|health| health.as_bytes() == path)
    }

    /// Whether the request is a health check, which is answered even if there is no good
    /// configuration.
    #[must_use]
    pub fn is_health_check(&self, head: &Head<'_>) -> bool {
        request_line(head).is_ok_and(|(method, path, _)| {
            self.is_health_path(path)
                && matches!(method, b"GET" | b"HEAD")
                && !head.resembles_grpc()
        })
    }

    /// The result of a health check. The gate can do its work if at least one provider has keys
    /// that may still be used: the failure of one provider must not take the gate away from all
    /// others. A gate that has not received its organizations yet should leave the work to
    /// those that have. But when organizations become too old, they do so for all gates, so
    /// those of the configuration remain in use.
    fn health(&self, time: Time) -> OwnAnswer {
        let now = time.now().mono;
        let mut providers = self.authenticator.providers().iter();
        if !providers.any(|provider| provider.keys.are_usable(now)) {
            return OwnAnswer::Unhealthy(Unhealthy::NoKeys);
        }
        let from = self.config.organizations_from.as_ref();
        let any = match self.grants {
            Grants::All => true,
            Grants::Awaited => false,
            Grants::Outdated => from.is_some_and(|from| from.inline),
        };
        if any {
            OwnAnswer::Healthy
        } else {
            OwnAnswer::Unhealthy(Unhealthy::NoOrganizations)
        }
    }

    /// The origin of the page that a browser sends the request for, if it is a configured one.
    #[must_use]
    pub fn listed_origin(&self, head: &Head<'_>) -> Option<&Origin> {
        let sent = head.origin.once()?;
        let mut origins = self.config.entrance.origins.iter();
        origins.find(|origin| origin.as_str().as_bytes() == sent)
    }
}
