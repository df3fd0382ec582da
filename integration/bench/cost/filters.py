"""What is measured, as configurations of Envoy's HTTP filters."""

import json
import pathlib

from .tokens import AUDIENCE, GROUPS, ISSUER, group, staff

# jwt_authn remembers no longer token than 4 KiB unless it is told to; the gate takes any that it accepts.
CACHED = {"jwt_cache_size": 1000, "jwt_max_token_size": 49_152}

# What jwt_authn and RBAC do as well: decide, and drop the token. The defaults also hand the audit record to the access
# log and the subject to the backend.
EQUAL = {"audit": {"log": "denied", "access_log": False}, "forward": {"subject_header": None}}


def tenant(index: int) -> str:
    return f"tenant-{index:05}"


def typed(name: str, kind: str, body: dict) -> dict:
    return {"name": name, "typed_config": {"@type": f"type.googleapis.com/{kind}"} | body}


def string(value: str) -> dict:
    return {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": value}


def jwt_authn(jwks: dict, cache: bool, metadata: bool) -> dict:
    provider = {
        "issuer": ISSUER,
        "audiences": [AUDIENCE],
        "local_jwks": {"inline_string": json.dumps(jwks)},
    }
    if cache:
        provider["jwt_cache_config"] = CACHED
    if metadata:
        provider["payload_in_metadata"] = "payload"
    return typed(
        "envoy.filters.http.jwt_authn",
        "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
        {
            "providers": {"bench": provider},
            "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "bench"}}],
        },
    )


def rbac(tenants: int) -> dict:
    """The tenant check by hand: for each tenant, its header and a group among the token's."""
    return typed(
        "envoy.filters.http.rbac",
        "envoy.extensions.filters.http.rbac.v3.RBAC",
        {
            "rules": {
                "action": "ALLOW",
                "policies": {
                    tenant(i): {
                        "permissions": [{"header": {"name": "x-scope-orgid", "string_match": {"exact": tenant(i)}}}],
                        "principals": [
                            {
                                "sourced_metadata": {
                                    "metadata_matcher": {
                                        "filter": "envoy.filters.http.jwt_authn",
                                        "path": [{"key": "payload"}, {"key": "groups"}],
                                        "value": {"list_match": {"one_of": {"string_match": {"exact": group(i)}}}},
                                    }
                                }
                            }
                        ],
                    }
                    for i in range(tenants)
                },
            }
        },
    )


def wasm(name: str, file: pathlib.Path, configuration: dict | None) -> dict:
    config = {
        "name": name,
        "root_id": name,
        "failure_policy": "FAIL_CLOSED",
        "vm_config": {
            # A machine for each listener: none shares another's caches.
            "vm_id": name,
            "runtime": "envoy.wasm.runtime.v8",
            "code": {"local": {"filename": str(file)}},
        },
    }
    if configuration is not None:
        config["configuration"] = string(json.dumps(configuration))
    return typed(name, "envoy.extensions.filters.http.wasm.v3.Wasm", {"config": config})


def native(name: str, file: pathlib.Path, configuration: dict | None) -> dict:
    """The filter `name` of a dynamic module. All listeners of a process share one state of the module's for each
    worker, its cache of tokens among it."""
    body = {
        "dynamic_module_config": {"module": {"local": {"filename": str(file)}}, "do_not_close": True},
        "filter_name": name,
    }
    if configuration is not None:
        body["filter_config"] = string(json.dumps(configuration))
    return typed(name, "envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter", body)


def scopegate(jwks: dict, tenants: int, **more: object) -> dict:
    """The configuration that does what jwt_authn + rbac(tenants) do."""
    return {
        "providers": [
            {
                "name": "bench",
                "issuer": ISSUER,
                "audiences": [AUDIENCE],
                "jwks": {"inline": jwks},
                "claims": {"groups": [{"path": ["groups"]}]},
            }
        ],
        "organizations": [
            {"name": f"org-{i:05}", "tenants": [tenant(i)], "rbac": {"viewers": [group(i)]}} for i in range(tenants)
        ],
        "backends": {"loki": {"enabled": True}},
    } | more


def scoped(jwks: dict, tenants: int, groups: int = GROUPS, **more: object) -> dict:
    """Each tenant in an organization of its own that grants all groups of the caller a part of its data; and one
    more, for strangers."""
    labels = [{"namespace": [f"web-{i % 8}"]} for i in range(groups)]
    grants = [{"group": staff(i), "labels": labels[i]} for i in range(groups)]
    own = [{"name": f"org-{i:05}", "tenants": [tenant(i)], "rbac": {"viewers": grants}} for i in range(tenants - 1)]
    other = {"name": "other", "tenants": [tenant(tenants - 1)], "rbac": {"viewers": ["others"]}}
    limits = {"token_bytes": 49_152, "tenants_per_request": 1_000}
    return scopegate(jwks, 0, **more) | {"organizations": [*own, other], "limits": limits}
