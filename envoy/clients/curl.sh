#!/usr/bin/env bash
# By hand: a token, a line of log, a query, and four requests that are refused.
#
# Edit the first lines. The client needs a grant on the tenant with `write` and `read`
# (viewers and writers in the gate's configuration). Needs curl and jq.
set -euo pipefail

gate=https://observability.example.com
token_url=https://login.example.com/realms/platform/protocol/openid-connect/token
client=example
secret_file=client-secret
tenant=platform

# A token by client credentials. The secret goes in through a pipe, not as an argument, which
# every user of the machine could see.
token="$(printf 'client_secret=%s' "$(cat "$secret_file")" |
    curl -fsS "$token_url" -d grant_type=client_credentials -d "client_id=$client" -d @- |
    jq -re .access_token)"

# As the credential of a request, through a file descriptor for the same reason.
call() { curl -sS -w '\n%{http_code}\n' -H @<(printf 'Authorization: Bearer %s\n' "$token") "$@"; }

echo '# a line of log: 204'
call -H "X-Scope-OrgID: $tenant" -H 'Content-Type: application/json' "$gate/loki/api/v1/push" \
    -d "{\"streams\":[{\"stream\":{\"job\":\"curl\"},\"values\":[[\"$(date +%s)000000000\",\"hello\"]]}]}"

echo '# and back: 200. curl reads {…} in a URL as a pattern, so the query is encoded'
call -H "X-Scope-OrgID: $tenant" -G "$gate/loki/api/v1/query_range" --data-urlencode 'query={job="curl"}'

echo '# metrics: 200'
call -H "X-Scope-OrgID: $tenant" -G "$gate/prometheus/api/v1/query" --data-urlencode 'query=up'

echo '# traces: 200'
call -H "X-Scope-OrgID: $tenant" -G "$gate/tempo/api/search" --data-urlencode 'q={}'

echo '# no token: 401, with WWW-Authenticate: Bearer'
curl -sS -w '\n%{http_code}\n' -H "X-Scope-OrgID: $tenant" "$gate/loki/api/v1/labels"

echo '# no tenant: 400'
call "$gate/loki/api/v1/labels"

echo '# a tenant that is not ours, or that nobody has: 403, the same words for both'
call -H 'X-Scope-OrgID: somebody-elses' "$gate/loki/api/v1/labels"

echo '# a path that is not exposed: 404, whatever Loki has there'
call -H "X-Scope-OrgID: $tenant" "$gate/config"
