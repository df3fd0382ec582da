//! Edits a bootstrap, and the gate's filter in a file beside it. The listener, the filter and the clusters are found
//! by their names.
//!
//! As little as possible is changed, so that the tests run what is shipped.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};

use crate::authority::Authority;

/// A bootstrap as a tree of values, and the file from which its filter `scopegate` is read.
pub struct Bootstrap {
    value: Value,
    discovered: Value,
}

impl Bootstrap {
    #[must_use]
    pub fn new(value: Value, discovered: Value) -> Bootstrap {
        Bootstrap { value, discovered }
    }

    /// The whole tree.
    pub fn value(&mut self) -> &mut Value {
        &mut self.value
    }

    #[must_use]
    pub fn into_value(self) -> Value {
        self.value
    }

    /// The listener `observability`.
    pub fn listener(&mut self) -> Result<&mut Value> {
        let listeners = list(
            &mut self.value["static_resources"]["listeners"],
            "static_resources.listeners",
        )?;
        named(listeners, LISTENER).with_context(|| format!("no listener {LISTENER}"))
    }

    /// Its HTTP connection manager.
    pub fn connection_manager(&mut self) -> Result<&mut Value> {
        connection_manager(self.listener()?)
    }

    /// The filter `scopegate`, in whichever file it is: its `name` and `typed_config`.
    pub fn scopegate(&mut self) -> Result<&mut Value> {
        if self.is_discovered()? {
            return resource(&mut self.discovered);
        }
        scopegate(self.listener()?)
    }

    /// Whether the filter is read from a file of its own, as it is in the shipped bootstrap.
    fn is_discovered(&mut self) -> Result<bool> {
        Ok(scopegate(self.listener()?).is_ok_and(|filter| filter["config_discovery"].is_object()))
    }

    /// Puts the filter into the listener. Edits of many listeners need this, and so do control planes that send
    /// complete listeners.
    pub(super) fn inline(&mut self) -> Result<()> {
        if self.is_discovered()? {
            let filter = resource(&mut self.discovered)?;
            let filter = json!({"name": filter["name"], "typed_config": filter["typed_config"]});
            *scopegate(self.listener()?)? = filter;
        }
        Ok(())
    }

    /// Makes the filter come from a file in that folder, which is written. Returns its content, or `None` if the
    /// filter is in the listener or has been taken out.
    pub(super) fn discover_in(&mut self, folder: &Path) -> Result<Option<Value>> {
        if !self.is_discovered()? {
            return Ok(None);
        }
        let source = &scopegate(self.listener()?)?["config_discovery"]["config_source"];
        let shipped = source["path_config_source"].clone();
        let path = Path::new(shipped["path"].as_str().context("no path")?);
        let watched = shipped["watched_directory"]["path"].as_str();
        if watched.map(Path::new) != path.parent() {
            bail!("{shipped}: another folder is watched than the file is in");
        }
        let folder = folder.join(DISCOVERED);
        let file = folder.join(path.file_name().context("no name")?);
        fs::create_dir(&folder)?;
        self.discover(&file)?;
        write_discovered(&file, &self.discovered)?;
        Ok(Some(self.discovered.clone()))
    }

    /// Makes the filter come from that file, which is left unchanged.
    pub(super) fn discover(&mut self, file: &Path) -> Result<()> {
        let folder = file.parent().context("no folder")?;
        let moved = json!({"path": file, "watched_directory": {"path": folder}});
        // A test may have added listeners like the shipped one.
        for listener in list(
            &mut self.value["static_resources"]["listeners"],
            "static_resources.listeners",
        )? {
            if let Ok(filter) = scopegate(listener)
                && filter["config_discovery"].is_object()
            {
                filter["config_discovery"]["config_source"]["path_config_source"] = moved.clone();
            }
        }
        Ok(())
    }

    /// The cluster of that name.
    pub fn cluster(&mut self, name: &str) -> Result<&mut Value> {
        named(self.clusters()?, name).with_context(|| format!("no cluster {name}"))
    }

    pub(super) fn set_admin(&mut self, port: u16) {
        self.value["admin"]["address"] = socket_address("127.0.0.1", port);
    }

    /// Moves the listener `observability` to that port, and all others to free ones.
    pub(super) fn set_listener_port(&mut self, port: u16) -> Result<()> {
        let listeners = list(
            &mut self.value["static_resources"]["listeners"],
            "static_resources.listeners",
        )?;
        for listener in listeners {
            let port = if listener["name"] == json!(LISTENER) {
                port
            } else {
                0
            };
            listener["address"] = socket_address("127.0.0.1", port);
        }
        Ok(())
    }

    pub(super) fn add_access_log(&mut self, path: &Path) -> Result<()> {
        let logger = json!({
            "name": "envoy.access_loggers.file",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                "path": path,
                "log_format": {"json_format": {
                    "test_id": "%REQ(X-TEST-ID)%",
                    "status": "%RESPONSE_CODE%",
                    "details": "%RESPONSE_CODE_DETAILS%",
                    "flags": "%RESPONSE_FLAGS%",
                    "protocol": "%PROTOCOL%",
                    "cluster": "%UPSTREAM_CLUSTER%",
                    "scopegate": "%FILTER_STATE(wasm.scopegate:PLAIN)%",
                }},
            },
        });
        let manager = self.connection_manager()?;
        match manager["access_log"].as_array_mut() {
            Some(loggers) => loggers.push(logger),
            None => manager["access_log"] = json!([logger]),
        }
        Ok(())
    }

    pub(super) fn remove_tls(&mut self) -> Result<()> {
        for chain in list(&mut self.listener()?["filter_chains"], "filter_chains")? {
            remove(chain, "transport_socket");
        }
        Ok(())
    }

    /// Sets a certificate for [`SERVER_NAME`] and loopback that the authority issues.
    pub(super) fn set_certificate(&mut self, authority: &Authority, folder: &Path) -> Result<()> {
        let (chain, private_key) = authority.issue(&[SERVER_NAME, "localhost", "127.0.0.1"])?;
        let certificate = folder.join("tls.crt");
        let key = folder.join("tls.key");
        fs::write(&certificate, chain)?;
        fs::write(&key, private_key)?;
        for chain in list(&mut self.listener()?["filter_chains"], "filter_chains")? {
            let context = &mut chain["transport_socket"]["typed_config"]["common_tls_context"];
            if context.is_object() {
                context["tls_certificates"] = json!([{
                    "certificate_chain": {"filename": certificate},
                    "private_key": {"filename": key},
                }]);
            }
        }
        Ok(())
    }

    /// Adds a listener like `observability`, without TLS, on that loopback port.
    pub fn add_plain_listener(&mut self, port: u16) -> Result<()> {
        let mut plain = self.listener()?.clone();
        plain["name"] = json!("plain");
        plain["address"] = socket_address("127.0.0.1", port);
        for chain in list(&mut plain["filter_chains"], "filter_chains")? {
            remove(chain, "transport_socket");
        }
        list(
            &mut self.value["static_resources"]["listeners"],
            "static_resources.listeners",
        )?
        .push(plain);
        Ok(())
    }

    /// Points the clusters to these addresses in plain text, and all others to a closed port.
    pub(super) fn set_clusters(&mut self, addresses: &BTreeMap<String, SocketAddr>) -> Result<()> {
        self.set_addresses(addresses)?;
        for cluster in self.clusters()? {
            remove(cluster, "transport_socket");
        }
        Ok(())
    }

    /// The same, but the clusters keep their TLS.
    pub(super) fn set_addresses(&mut self, addresses: &BTreeMap<String, SocketAddr>) -> Result<()> {
        let clusters = self.clusters()?;
        for (name, address) in addresses {
            if named(clusters, name).is_none() {
                clusters.push(json!({"name": name, "type": "STATIC", "connect_timeout": "5s"}));
            }
            let cluster = named(clusters, name).with_context(|| format!("no cluster {name}"))?;
            set_endpoint(cluster, *address);
        }
        for cluster in clusters {
            let name = cluster["name"].as_str().unwrap_or_default();
            if !addresses.contains_key(name) {
                set_endpoint(cluster, SocketAddr::from(([127, 0, 0, 1], CLOSED_PORT)));
            }
        }
        Ok(())
    }

    /// Passes the trailers of HTTP/1.1 on, both from clients and to backends.
    pub fn enable_trailers(&mut self) -> Result<()> {
        self.connection_manager()?["http_protocol_options"]["enable_trailers"] = json!(true);
        for cluster in self.clusters()? {
            let options = &mut cluster["typed_extension_protocol_options"];
            if options.is_null() {
                options[HTTP_OPTIONS] = json!({
                    "@type": format!("type.googleapis.com/{HTTP_OPTIONS}"),
                    "explicit_http_config": {"http_protocol_options": {"enable_trailers": true}},
                });
            }
        }
        Ok(())
    }

    pub(super) fn set_module(
        &mut self,
        path: &Path,
        environment: &BTreeMap<String, String>,
    ) -> Result<()> {
        let path = path
            .canonicalize()
            .with_context(|| format!("no module at {}", path.display()))?;
        let vm_config = &mut self.scopegate()?["typed_config"]["config"]["vm_config"];
        vm_config["code"] = json!({"local": {"filename": path}});
        if !environment.is_empty() {
            vm_config["environment_variables"]["key_values"] = json!(environment);
        }
        Ok(())
    }

    /// Puts the gate's native module in the place of the one in wasm, with the same configuration. Envoy finds its file
    /// `libNAME.so` in the folder that a variable names.
    pub(super) fn make_native(&mut self, module: &Path) -> Result<()> {
        let name = module.file_stem().and_then(|stem| stem.to_str());
        let name = name.and_then(|stem| stem.strip_prefix("lib"));
        let name = name.with_context(|| format!("{} is no libNAME.so", module.display()))?;
        let replace = |filter: &mut Value| {
            let configuration = filter["typed_config"]["config"]["configuration"].clone();
            filter["typed_config"] = json!({
                "@type": NATIVE,
                "dynamic_module_config": {"name": name, "do_not_close": true},
                "filter_name": FILTER,
                "filter_config": configuration,
            });
        };
        if self.is_discovered()? {
            replace(resource(&mut self.discovered)?);
        }
        // A listener without the gate has none, or another filter by that name.
        let listeners = &mut self.value["static_resources"]["listeners"];
        for listener in list(listeners, "static_resources.listeners")? {
            let Ok(filter) = scopegate(listener) else {
                continue;
            };
            if filter["config_discovery"].is_object() {
                filter["config_discovery"]["type_urls"] = json!([NATIVE]);
            } else if filter["typed_config"]["config"]["vm_config"].is_object() {
                replace(filter);
            }
        }
        // Without this, names begin with `dynamicmodulescustom`.
        self.value["layered_runtime"]["layers"] = json!([{
            "name": "native",
            "static_layer": {"envoy.reloadable_features.dynamic_modules_strip_custom_stat_prefix": true},
        }]);
        Ok(())
    }

    /// Allows the module these functions and no others.
    pub(super) fn set_capabilities(&mut self, functions: &[String]) -> Result<()> {
        let allowed: BTreeMap<&str, Value> = functions
            .iter()
            .map(|function| (function.as_str(), json!({})))
            .collect();
        self.scopegate()?["typed_config"]["config"]["capability_restriction_config"] =
            json!({ "allowed_capabilities": allowed });
        Ok(())
    }

    pub(super) fn remove_module(&mut self) -> Result<()> {
        let manager = self.connection_manager()?;
        // Without the gate, tests of the harness choose their backend themselves.
        remove(manager, "early_header_mutation_extensions");
        list(&mut manager["http_filters"], "http_filters")?
            .retain(|filter| filter["name"] != json!(FILTER));
        Ok(())
    }

    /// Moves the listener, with the filter in it, into a watched file, and returns the listener.
    pub(super) fn make_dynamic(&mut self, folder: &Path) -> Result<Value> {
        self.inline()?;
        let listener = self.listener()?.take();
        list(
            &mut self.value["static_resources"]["listeners"],
            "static_resources.listeners",
        )?
        .retain(|listener| !listener.is_null());
        write_lds(folder, &listener)?;
        let path = folder.join(LDS);
        self.value["dynamic_resources"]["lds_config"] = json!({
            "path_config_source": {"path": path, "watched_directory": {"path": folder}},
            "resource_api_version": "V3",
        });
        if self.value["node"].is_null() {
            self.value["node"] = json!({"id": "integration", "cluster": "integration"});
        }
        Ok(listener)
    }

    fn clusters(&mut self) -> Result<&mut Vec<Value>> {
        list(
            &mut self.value["static_resources"]["clusters"],
            "static_resources.clusters",
        )
    }
}

/// The HTTP connection manager of a listener.
pub fn connection_manager(listener: &mut Value) -> Result<&mut Value> {
    list(&mut listener["filter_chains"], "filter_chains")?
        .iter_mut()
        .filter_map(|chain| chain["filters"].as_array_mut())
        .flatten()
        .find(|filter| {
            filter["name"]
                .as_str()
                .is_some_and(|name| name.ends_with("http_connection_manager"))
        })
        .map(|filter| &mut filter["typed_config"])
        .ok_or_else(|| anyhow!("no HTTP connection manager"))
}

/// The filter `scopegate` of a listener.
pub fn scopegate(listener: &mut Value) -> Result<&mut Value> {
    let manager = connection_manager(listener)?;
    named(list(&mut manager["http_filters"], "http_filters")?, FILTER)
        .with_context(|| format!("no filter {FILTER}"))
}

/// The filter in the file that it comes from.
fn resource(discovered: &mut Value) -> Result<&mut Value> {
    match list(&mut discovered["resources"], "resources")?.as_mut_slice() {
        [filter] if filter["name"] == json!(FILTER) => Ok(filter),
        _ => bail!("not one resource {FILTER}"),
    }
}

/// Sets the configuration of the module in a listener.
pub fn set_configuration(listener: &mut Value, document: &Value) -> Result<()> {
    configure(scopegate(listener)?, document);
    Ok(())
}

/// The same, in the file from which the filter is read.
pub(super) fn set_discovered(discovered: &mut Value, document: &Value) -> Result<()> {
    configure(resource(discovered)?, document);
    Ok(())
}

/// The same, for the filter itself.
pub(super) fn configure(filter: &mut Value, document: &Value) {
    let typed = &mut filter["typed_config"];
    let place = if typed["filter_name"].is_string() {
        &mut typed["filter_config"]
    } else {
        &mut typed["config"]["configuration"]
    };
    *place = json!({
        "@type": "type.googleapis.com/google.protobuf.StringValue",
        "value": document.to_string(),
    });
}

/// Writes the file from which the filter is read. It is first written outside of its folder, which Envoy watches,
/// because Envoy acts on a rename.
pub(super) fn write_discovered(path: &Path, discovered: &Value) -> Result<()> {
    let folder = path.parent().context("no folder")?;
    let next = folder.with_extension("next");
    fs::write(&next, discovered.to_string())?;
    fs::rename(next, path)?;
    Ok(())
}

/// Writes the watched file. Envoy acts on a rename, and so never reads a file that is half written.
pub(super) fn write_lds(folder: &Path, listener: &Value) -> Result<()> {
    let mut resource = listener.clone();
    resource["@type"] = json!("type.googleapis.com/envoy.config.listener.v3.Listener");
    let document = json!({ "resources": [resource] });
    let next = folder.join("lds.next");
    fs::write(&next, serde_json::to_vec_pretty(&document)?)?;
    fs::rename(next, folder.join(LDS))?;
    Ok(())
}

fn set_endpoint(cluster: &mut Value, address: SocketAddr) {
    let name = cluster["name"].clone();
    let endpoint = socket_address(&address.ip().to_string(), address.port());
    cluster["load_assignment"] = json!({
        "cluster_name": name,
        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": endpoint}}]}],
    });
}

fn socket_address(address: &str, port: u16) -> Value {
    json!({"socket_address": {"address": address, "port_value": port}})
}

fn list<'tree>(value: &'tree mut Value, what: &str) -> Result<&'tree mut Vec<Value>> {
    value
        .as_array_mut()
        .with_context(|| format!("{what} is no list"))
}

fn named<'tree>(values: &'tree mut [Value], name: &str) -> Option<&'tree mut Value> {
    values.iter_mut().find(|value| value["name"] == json!(name))
}

fn remove(value: &mut Value, member: &str) {
    if let Some(members) = value.as_object_mut() {
        members.remove(member);
    }
}

/// The listener of the shipped bootstrap that holds the gate.
pub const LISTENER: &str = "observability";
/// The listener that serves metrics.
pub const METRICS: &str = "metrics";
/// The cluster that the listener for metrics leads to.
pub(super) const ADMIN: &str = "admin";
/// The name of the gate's filter.
pub const FILTER: &str = "scopegate";
/// The name in the certificate for a run with TLS.
pub const SERVER_NAME: &str = "observability.example.com";

const NATIVE: &str =
    "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter";
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
pub(super) const ACCESS_LOG: &str = "access.log";
const LDS: &str = "lds.json";
/// The folder of the file from which the filter is read.
pub(super) const DISCOVERED: &str = "ecds";
/// The port of tcpmux. Nobody listens there, and only root could.
const CLOSED_PORT: u16 = 1;
