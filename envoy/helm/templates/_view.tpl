{{- /*
What the templates of both products see, computed of the values as `scopegate render` computes it of a deployment file
(src/cli/render/document.rs, deployment.rs, hosted.rs, istio.rs and view.rs). All that is wrong is told at once, each
with its place, and then nothing is printed.
*/ -}}

{{- /* Fills the dictionary `view`. */ -}}
{{- define "scopegate.view" -}}
{{- $root := .root -}}
{{- $view := .view -}}
{{- $problems := dict "all" list -}}
{{- $product := $root.Values.product -}}
{{- if not (has $product (list "istio" "envoy-gateway")) -}}
{{- fail "product: expected istio or envoy-gateway" -}}
{{- end -}}
{{- $istio := eq $product "istio" -}}

{{- /* Each section is taken whole. Helm would mix an example's members with those of the user. */ -}}
{{- $deployment := deepCopy (default dict $root.Values.deployment) -}}
{{- $gate := deepCopy (default dict $root.Values.configuration) -}}
{{- if and (empty $deployment) (empty $gate) -}}
{{- $example := $root.Files.Get "example.yaml" | fromYaml -}}
{{- $deployment = omit $example.deployment "namespace" -}}
{{- $gate = $example.configuration -}}
{{- else if empty $deployment -}}
{{- fail "deployment: missing: where the gate runs; example.yaml has a whole one" -}}
{{- else if empty $gate -}}
{{- fail "configuration: missing: what the gate lets through; example.yaml has a whole one" -}}
{{- end -}}

{{- /* Keys that mean nothing, even where the schema is not asked. */ -}}
{{- $tls := default dict $deployment.tls -}}
{{- $backends := default dict $deployment.backends -}}
{{- $ports := list "url" "grpc_url" -}}
{{- $all := concat $ports (list "otlp_url" "otlp_grpc_url") -}}
{{- $sections := list
  (list "deployment" $deployment (list "host" "tls" "namespace" "image" "digest" "envoy_image" "module" "memory" "workers" "replicas" "trusted_ca" "backends" "clusters"))
  (list "deployment.tls" $tls (list "secret" "certificate" "key"))
  (list "deployment.backends" $backends (list "loki" "mimir" "tempo"))
  (list "deployment.backends.loki" (default dict $backends.loki) $ports)
  (list "deployment.backends.mimir" (default dict $backends.mimir) $ports)
  (list "deployment.backends.tempo" (default dict $backends.tempo) $all) -}}
{{- range $name, $cluster := default dict $deployment.clusters -}}
{{- $sections = append $sections (list (printf "deployment.clusters.%s" $name) (default dict $cluster) (list "url" "trusted_ca")) -}}
{{- end -}}
{{- range $section := $sections -}}
{{- range $name := keys (index $section 1) | sortAlpha -}}
{{- if not (has $name (index $section 2)) -}}
{{- $text := printf "%s.%s: unknown key: known here are %s" (index $section 0) $name (join ", " (index $section 2)) -}}
{{- $_ := set $problems "all" (append $problems.all $text) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Texts: a place, the value, what it is by default, a pattern, what is expected, and the most characters. */ -}}
{{- $name := include "scopegate.name" . -}}
{{- $absolute := "^/[^\\x00]*$" -}}
{{- $home := default $root.Release.Namespace $deployment.namespace -}}
{{- $host := default "" $deployment.host -}}
{{- $secret := default "observability-tls" $tls.secret -}}
{{- $image := default "" $deployment.image -}}
{{- $digest := default "" $deployment.digest -}}
{{- $memory := default "2304Mi" $deployment.memory -}}
{{- $trusted := default "/etc/ssl/certs/ca-certificates.crt" $deployment.trusted_ca -}}
{{- $file := "expected the path of a file from / on" -}}
{{- $texts := list
  (list "deployment.host" $deployment.host $name "expected a DNS name in small letters" 253)
  (list "deployment.tls.secret" $tls.secret $name "expected a DNS name in small letters" 253)
  (list "deployment.tls.certificate" $tls.certificate $absolute $file 100000)
  (list "deployment.tls.key" $tls.key $absolute $file 100000)
  (list "deployment.namespace" $deployment.namespace (include "scopegate.label" .) "expected at most 63 small letters, digits and hyphens" 63)
  (list "deployment.image" $deployment.image "^[a-z0-9]([a-z0-9._/:-]*[a-z0-9])?$" "expected a registry, a slash and the name of an image, and no digest in it: that is deployment.digest" 400)
  (list "deployment.envoy_image" $deployment.envoy_image "^[a-z0-9]([a-z0-9._/:@-]*[a-z0-9])?$" "expected a registry, a slash and the name of an image" 400)
  (list "deployment.digest" $deployment.digest "^sha256:[0-9a-f]{64}$" "expected sha256: and 64 digits from 0 to f, as docker push prints it" 71)
  (list "deployment.module" $deployment.module $absolute $file 100000)
  (list "deployment.memory" $deployment.memory "^[0-9]{1,9}(Mi|Gi)$" "expected a text from 512Mi to 1024Gi" 20)
  (list "deployment.trusted_ca" $deployment.trusted_ca $absolute $file 100000) -}}
{{- range $cluster := keys (default dict $deployment.clusters) | sortAlpha -}}
{{- $said := default dict (index $deployment.clusters $cluster) -}}
{{- $texts = append $texts (list (printf "deployment.clusters.%s.trusted_ca" $cluster) $said.trusted_ca $absolute $file 100000) -}}
{{- end -}}
{{- range $text := $texts -}}
{{- $value := index $text 1 -}}
{{- if not (kindIs "invalid" $value) -}}
{{- if not (typeIs "string" $value) -}}
{{- $_ := set $problems "all" (append $problems.all (printf "%s: expected a text; put it between quotes" (index $text 0))) -}}
{{- else if not (and (regexMatch (printf "(?s)%s" (index $text 2)) $value) (le (len $value) (index $text 4))) -}}
{{- $_ := set $problems "all" (append $problems.all (printf "%s: %s" (index $text 0) (index $text 3))) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if ne $home $root.Release.Namespace -}}
{{- $text := printf "deployment.namespace: %s is not the namespace of the release, which is %s: install with --namespace %s, or leave it out" $home $root.Release.Namespace $home -}}
{{- $_ := set $problems "all" (append $problems.all $text) -}}
{{- end -}}

{{- /* Numbers. */ -}}
{{- $numbers := dict "workers" 2 "replicas" 2 -}}
{{- range $number := list (list "workers" 128) (list "replicas" 1000) -}}
{{- $value := index $deployment (index $number 0) -}}
{{- if not (kindIs "invalid" $value) -}}
{{- if and (regexMatch "^[0-9]{1,4}$" (toRawJson $value)) (ge (int $value) 1) (le (int $value) (index $number 1)) -}}
{{- $_ := set $numbers (index $number 0) (int $value) -}}
{{- else -}}
{{- $_ := set $problems "all" (append $problems.all (printf "deployment.%s: expected a number from 1 to %d" (index $number 0) (index $number 1))) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $mebibytes := 2304 -}}
{{- if and (typeIs "string" $memory) (regexMatch "^[0-9]{1,9}(Mi|Gi)$" $memory) -}}
{{- $mebibytes = mul (atoi (regexFind "^[0-9]+" $memory)) (ternary 1024 1 (hasSuffix "Gi" $memory)) | int -}}
{{- if or (lt $mebibytes 512) (gt $mebibytes 1048576) -}}
{{- $_ := set $problems "all" (append $problems.all "deployment.memory: expected a text from 512Mi to 1024Gi") -}}
{{- $mebibytes = 2304 -}}
{{- end -}}
{{- end -}}
{{- if lt (sub $mebibytes (add 128 (mul 64 $numbers.workers))) 128 -}}
{{- $_ := set $problems "all" (append $problems.all (printf "deployment.memory: too little for %d workers" $numbers.workers)) -}}
{{- end -}}

{{- /* Where the backends are: of those that are enabled, each by `url`, `grpc`, `otlp_http` and `otlp_grpc`. */ -}}
{{- $servers := dict "loki" dict "mimir" dict "tempo" dict -}}
{{- $members := dict "url" "url" "grpc_url" "grpc" "otlp_url" "otlp_http" "otlp_grpc_url" "otlp_grpc" -}}
{{- range $backend := list "loki" "mimir" "tempo" -}}
{{- $section := index (default dict $gate.backends) $backend -}}
{{- $enabled := and (kindIs "map" $section) (ne (toString (default dict $section).enabled) "false") -}}
{{- $said := default dict (index $backends $backend) -}}
{{- $found := dict -}}
{{- range $key := $all -}}
{{- $url := index $said $key -}}
{{- $place := printf "deployment.backends.%s.%s" $backend $key -}}
{{- if not (kindIs "invalid" $url) -}}
{{- $address := dict "ca" $trusted -}}
{{- $problem := include "scopegate.address" (dict "into" $address "url" $url "origin" true) -}}
{{- if $problem -}}
{{- $_ := set $problems "all" (append $problems.all (printf "%s: %s" $place $problem)) -}}
{{- else -}}
{{- $_ := set $found (index $members $key) $address -}}
{{- if and $enabled $address.tls -}}
{{- $_ := set $problems "all" (append $problems.all (printf "%s: expected http: TLS to backends is printed for plain Envoy alone" $place)) -}}
{{- end -}}
{{- if and $enabled $istio (empty $address.service) -}}
{{- $_ := set $problems "all" (append $problems.all (printf "%s: expected a Service: http://NAME.NAMESPACE.svc.cluster.local:PORT" $place)) -}}
{{- end -}}
{{- end -}}
{{- else if and $enabled (eq $key "url") -}}
{{- $_ := set $problems "all" (append $problems.all (printf "%s: missing: the backend is enabled in configuration.backends.%s" $place $backend)) -}}
{{- end -}}
{{- end -}}
{{- if $enabled }}{{ $_ := set $servers $backend $found }}{{ end -}}
{{- end -}}

{{- /* Where clusters lead that the deployment names. */ -}}
{{- $said := dict -}}
{{- range $cluster := keys (default dict $deployment.clusters) | sortAlpha -}}
{{- $section := default dict (index $deployment.clusters $cluster) -}}
{{- $place := printf "deployment.clusters.%s" $cluster -}}
{{- if not (regexMatch "^[A-Za-z0-9_-]{1,60}$" $cluster) -}}
{{- $_ := set $problems "all" (append $problems.all (printf "%s: expected a name of letters, digits, _ and -" $place)) -}}
{{- end -}}
{{- if kindIs "invalid" $section.url -}}
{{- $_ := set $problems "all" (append $problems.all (printf "%s.url: missing: where the cluster leads" $place)) -}}
{{- else -}}
{{- $address := dict "ca" (default $trusted $section.trusted_ca) -}}
{{- $problem := include "scopegate.address" (dict "into" $address "url" $section.url "origin" true) -}}
{{- if $problem -}}
{{- $_ := set $problems "all" (append $problems.all (printf "%s.url: %s" $place $problem)) -}}
{{- else -}}
{{- $_ := set $said $cluster $address -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* The sources of the gate's own requests, in order: what has the cluster, its place, the URL, and whether keys come
from there. */ -}}
{{- $sources := list -}}
{{- $variables := list -}}
{{- range $index, $provider := default list $gate.providers -}}
{{- $jwks := default dict $provider.jwks -}}
{{- $issuers := default (list "") $provider.issuers -}}
{{- $url := default (ternary (default (first $issuers) $provider.issuer) "" (hasKey $jwks "discovery")) $jwks.uri -}}
{{- if or $jwks.uri (hasKey $jwks "discovery") -}}
{{- $sources = append $sources (dict "section" $jwks "place" (printf "providers[%d].jwks.cluster" $index) "url" $url "keys" true "shared" true) -}}
{{- end -}}
{{- $variables = append $variables (default dict $jwks.authorization).environment -}}
{{- end -}}
{{- with $gate.organizations_from -}}
{{- $sources = append $sources (dict "section" . "place" "organizations_from.cluster" "url" (default "" .uri) "keys" false "shared" true) -}}
{{- $variables = append $variables (default dict .authorization).environment -}}
{{- end -}}
{{- $projects := default dict $gate.projects -}}
{{- $directory := default dict $projects.directory -}}
{{- with $directory.http -}}
{{- $sources = append $sources (dict "section" . "place" "projects.directory.http.cluster" "url" "" "keys" false "shared" false) -}}
{{- end -}}

{{- $taken := list "loki" "loki_grpc" "mimir" "mimir_grpc" "tempo" "tempo_grpc" "tempo_otlp_http" "tempo_otlp_grpc" "admin" "prometheus_stats" "xds_cluster" -}}
{{- $clusters := list -}}
{{- range $source := $sources -}}
{{- $cluster := $source.section.cluster -}}
{{- if typeIs "string" $cluster -}}
{{- if not (regexMatch "^[A-Za-z0-9_-]{1,60}$" $cluster) -}}
{{- $_ := set $problems "all" (append $problems.all (printf "configuration.%s: expected a name of at most 60 letters, digits, _ and -" $source.place)) -}}
{{- else if has $cluster $taken -}}
{{- $_ := set $problems "all" (append $problems.all (printf "configuration.%s: %s is the cluster of something else: take another name" $source.place $cluster)) -}}
{{- else -}}
{{- $address := dict "ca" $trusted -}}
{{- if hasKey $said $cluster -}}
{{- $address = deepCopy (index $said $cluster) -}}
{{- else if $source.url -}}
{{- $problem := include "scopegate.address" (dict "into" $address "url" $source.url "origin" false) -}}
{{- if $problem -}}
{{- $_ := set $problems "all" (append $problems.all (printf "configuration.%s: it leads where %v says: %s" $source.place $source.url $problem)) -}}
{{- end -}}
{{- else -}}
{{- $_ := set $problems "all" (append $problems.all (printf "deployment.clusters.%s.url: missing: where %s leads, which nothing else says" $cluster $source.place)) -}}
{{- end -}}
{{- if $address.host -}}
{{- $known := dict -}}
{{- range $clusters }}{{ if eq .name $cluster }}{{ $known = . }}{{ end }}{{ end -}}
{{- if empty $known -}}
{{- $_ := set $address "name" $cluster -}}
{{- $_ := set $address "keys" $source.keys -}}
{{- $_ := set $address "resource" (lower $cluster | replace "_" "-") -}}
{{- $_ := set $address "outbound" (printf "outbound|%d||%s" $address.port (default $address.host $address.service.host)) -}}
{{- $clusters = append $clusters $address -}}
{{- $known = $address -}}
{{- else if not (and (eq $known.host $address.host) (eq $known.port $address.port) (eq $known.tls $address.tls)) -}}
{{- $_ := set $problems "all" (append $problems.all (printf "configuration.%s: %s is already the cluster of %s: take another name, or say in deployment.clusters where it leads" $source.place $cluster $known.host)) -}}
{{- end -}}
{{- if $istio }}{{ $_ := set $source.section "cluster" $known.outbound }}{{ end -}}
{{- /* Whether workers share what they fetch is spelled out: it is decided by who else runs in the proxy. */ -}}
{{- if and $source.shared (not (hasKey $source.section "share")) }}{{ $_ := set $source.section "share" true }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $names := list -}}
{{- range $clusters }}{{ $names = append $names .name }}{{ end -}}
{{- range $cluster := keys (default dict $deployment.clusters) | sortAlpha -}}
{{- if not (has $cluster $names) -}}
{{- $_ := set $problems "all" (append $problems.all (printf "deployment.clusters.%s: not used: no cluster of the gate has that name" $cluster)) -}}
{{- end -}}
{{- end -}}

{{- /* What Istio must be told of, and what it cannot be told. */ -}}
{{- $external := list -}}
{{- $services := list -}}
{{- $hosts := dict -}}
{{- $outbound := list -}}
{{- range $cluster := $clusters -}}
{{- $place := printf "deployment.clusters.%s.url" $cluster.name -}}
{{- if and $istio $cluster.ip -}}
{{- $_ := set $problems "all" (append $problems.all (printf "%s: expected a name and no IP address: Istio knows hosts by names" $place)) -}}
{{- end -}}
{{- $other := index $hosts $cluster.host -}}
{{- if empty $other -}}
{{- $_ := set $hosts $cluster.host $cluster -}}
{{- else if and $istio (empty $cluster.service) (ne $other.port $cluster.port) -}}
{{- $_ := set $problems "all" (append $problems.all (printf "%s: %s is reached at another port by the cluster %s: one port for each host" $place $cluster.host $other.name)) -}}
{{- end -}}
{{- if and (empty $cluster.service) (empty $other) }}{{ $external = append $external $cluster }}{{ end -}}
{{- if and (not (empty $cluster.service)) $cluster.tls (not (has $cluster.outbound $outbound)) -}}
{{- $outbound = append $outbound $cluster.outbound -}}
{{- $services = append $services $cluster -}}
{{- end -}}
{{- end -}}
{{- $resources := list -}}
{{- range $cluster := concat $external $services -}}
{{- if $istio -}}
{{- if or (has $cluster.resource $resources) (not (regexMatch (include "scopegate.label" .) $cluster.resource)) -}}
{{- $_ := set $problems "all" (append $problems.all (printf "configuration.providers: the cluster %s cannot be the name of a resource, or another one is called the same" $cluster.name)) -}}
{{- end -}}
{{- $resources = append $resources $cluster.resource -}}
{{- end -}}
{{- end -}}

{{- /* Where the backends are that routes lead to. */ -}}
{{- $grants := list -}}
{{- $grpc := list -}}
{{- $guarded := list -}}
{{- range $backend := list "loki" "mimir" "tempo" -}}
{{- $found := index $servers $backend -}}
{{- range $member := list "url" "grpc" "otlp_http" "otlp_grpc" -}}
{{- $address := index $found $member -}}
{{- if and $address (not (empty $address.service)) -}}
{{- if ne $address.service.place $home -}}
{{- $guarded = append $guarded $address.service.place -}}
{{- $grant := dict -}}
{{- range $grants }}{{ if eq .place $address.service.place }}{{ $grant = . }}{{ end }}{{ end -}}
{{- if empty $grant -}}
{{- $grants = append $grants (dict "place" $address.service.place "services" (list $address.service.name)) -}}
{{- else if not (has $address.service.name $grant.services) -}}
{{- $_ := set $grant "services" (append $grant.services $address.service.name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if $found.grpc }}{{ $grpc = append $grpc $found.grpc }}{{ end -}}
{{- if $found.otlp_grpc }}{{ $grpc = append $grpc $found.otlp_grpc }}{{ end -}}
{{- end -}}
{{- $guarded = uniq $guarded | sortAlpha -}}

{{- if eq (toString (default dict $gate.forward).rewrite_paths) "false" -}}
{{- $_ := set $problems "all" (append $problems.all "configuration.forward.rewrite_paths: expected true: the routes that are printed match rewritten paths") -}}
{{- end -}}
{{- range $key, $about := dict "host" "what clients call the gate" "image" "the image of the module" "digest" "the digest of that image" -}}
{{- if empty (index $deployment $key) -}}
{{- $_ := set $problems "all" (append $problems.all (printf "deployment.%s: missing: %s" $key $about)) -}}
{{- end -}}
{{- end -}}
{{- $extras := default dict $root.Values.extras -}}
{{- range $key := list "accessLog" "authorization" -}}
{{- if and (not $istio) (index $extras $key) -}}
{{- $_ := set $problems "all" (append $problems.all (printf "extras.%s: for Istio alone" $key)) -}}
{{- end -}}
{{- end -}}
{{- if $problems.all -}}
{{- fail (printf "the values are not good:\n  %s" (join "\n  " (uniq $problems.all))) -}}
{{- end -}}

{{- $pinned := printf "%s@%s" $image $digest -}}
{{- $_ := mergeOverwrite $view (dict
  "product" $product
  "home" $home
  "host" $host
  "tls" (dict "secret" $secret)
  "url" (ternary (printf "oci://%s" $pinned) $pinned $istio)
  "digest" (trimPrefix "sha256:" $digest)
  "memory" (printf "%dMi" $mebibytes)
  "workers" $numbers.workers
  "replicas" $numbers.replicas) -}}
{{- $_ := set $view "loki" $servers.loki -}}
{{- $_ := set $view "mimir" $servers.mimir -}}
{{- $_ := set $view "tempo" $servers.tempo -}}
{{- $_ := set $view "clusters" $clusters -}}
{{- $_ := set $view "external" $external -}}
{{- $_ := set $view "services_with_tls" $services -}}
{{- $_ := set $view "grants" $grants -}}
{{- $_ := set $view "grpc" $grpc -}}
{{- $_ := set $view "guarded" $guarded -}}
{{- $_ := set $view "watched" (prepend $guarded $home) -}}
{{- $_ := set $view "variables" (compact $variables | uniq) -}}
{{- $_ := set $view "gate" $gate -}}
{{- $_ := set $view "configuration" (include "scopegate.members" (dict "value" $gate "indent" (ternary 4 8 $istio) "top" true)) -}}
{{- end -}}
