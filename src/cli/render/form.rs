//! The two forms of the module.

use std::path::Path;

use super::document::Document;
use super::section::Problems;

/// A form of the module.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Form {
    /// In WebAssembly, for every proxy.
    Wasm,
    /// A shared object for Envoy on Linux.
    Native,
}

impl Form {
    /// Where plain Envoy finds the file unless the deployment says otherwise.
    pub(super) const fn file(self) -> &'static str {
        match self {
            Self::Wasm => "/etc/envoy/scopegate.wasm",
            Self::Native => "/etc/envoy/libscopegate.so",
        }
    }

    /// Whether the deployment names a file of the other form.
    pub(super) fn check(self, document: &Document, problems: &Problems) {
        let module = document.deployment.module.as_deref();
        let extension = module.and_then(|module| Path::new(module).extension());
        let is = |wanted: &str| extension.is_some_and(|it| it.eq_ignore_ascii_case(wanted));
        let text = match self {
            Self::Wasm if is("so") => "a native module is printed with --native",
            Self::Native if is("wasm") => "expected the file of the native module, libscopegate.so",
            _ => return,
        };
        problems.add("deployment.module", text);
    }
}
