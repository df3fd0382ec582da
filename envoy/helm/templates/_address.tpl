{{- /* Where something is reached, as src/cli/render/address.rs reads it. */ -}}

{{- /* One label of a DNS name, which is what Kubernetes calls most things; and a whole name. */ -}}
{{- define "scopegate.label" -}}^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?${{- end -}}
{{- define "scopegate.name" -}}^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?([.][a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*${{- end -}}

{{- /* An IP address of either version, as Rust reads it. */ -}}
{{- define "scopegate.ip" -}}
{{- $byte := "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])" -}}
{{- $v4 := printf "%s([.]%s){3}" $byte $byte -}}
{{- $group := "[0-9a-f]{1,4}" -}}
{{- $forms := list $v4 (printf "(%s:){7}%s" $group $group) (printf "(%s:){6}%s" $group $v4) -}}
{{- range $before := until 8 -}}
{{- $head := ternary ":" (printf "%s(:%s){%d}:" $group $group (sub $before 1)) (eq $before 0) -}}
{{- $tail := ternary "" (printf "%s(:%s){0,%d}" $group $group (sub 6 $before)) (gt $before 6) -}}
{{- $forms = append $forms (printf "%s:(%s)?" $head $tail) -}}
{{- if le $before 5 -}}
{{- $forms = append $forms (printf "%s:(%s:){0,%d}%s" $head $group (sub 5 $before) $v4) -}}
{{- end -}}
{{- end -}}
^({{ join "|" $forms }})$
{{- end -}}

{{- /* The `url` as tls, host, port, ip, protocol and service of the dictionary `into`. With `origin` it has no path.
Gives what is wrong with it, for people. */ -}}
{{- define "scopegate.address" -}}
{{- if not (typeIs "string" .url) -}}
expected a text; put it between quotes
{{- else if not (regexMatch "^https?://" .url) -}}
expected a URL that begins with http:// or https://
{{- else -}}
{{- $tls := hasPrefix "https://" .url -}}
{{- $rest := regexReplaceAll "^https?://" .url "" -}}
{{- $authority := regexFind "^[^/?#]*" $rest -}}
{{- $path := trimPrefix $authority $rest -}}
{{- $host := "" -}}
{{- $port := ternary "443" "80" $tls -}}
{{- if regexMatch "^\\[[^\\]]*\\](:.*)?$" $authority -}}
{{- $host = regexReplaceAll "^\\[([^\\]]*)\\].*$" $authority "${1}" -}}
{{- $given := regexReplaceAll "^\\[[^\\]]*\\]" $authority "" -}}
{{- if $given }}{{ $port = trimPrefix ":" $given }}{{ end -}}
{{- else if not (hasPrefix "[" $authority) -}}
{{- $host = regexFind "^[^:]*" $authority -}}
{{- $given := trimPrefix $host $authority -}}
{{- if $given }}{{ $port = trimPrefix ":" $given }}{{ end -}}
{{- end -}}
{{- if regexMatch "^[A-Za-z0-9.:-]*$" $host }}{{ $host = lower $host }}{{ end -}}
{{- $ip := regexMatch (include "scopegate.ip" .) $host -}}
{{- if not (or $ip (and (le (len $host) 253) (regexMatch (include "scopegate.name" .) $host))) -}}
expected the name of a host, or its IP address, behind the scheme
{{- else if not (and (regexMatch "^[0-9]{1,9}$" $port) (le (atoi $port) 65535) (ge (atoi $port) 1)) -}}
expected a port from 1 to 65535
{{- else if and .origin (not (has $path (list "" "/"))) -}}
expected scheme, host and port alone: the path of a request is kept
{{- else -}}
{{- $service := dict -}}
{{- if regexMatch "^[^.]+[.][^.]+[.]svc([.]cluster[.]local)?$" $host -}}
{{- $parts := splitList "." $host -}}
{{- $service = dict "name" (index $parts 0) "place" (index $parts 1) "host" (printf "%s.%s.svc.cluster.local" (index $parts 0) (index $parts 1)) -}}
{{- end -}}
{{- $found := dict "tls" $tls "host" $host "port" (atoi $port) "ip" $ip "protocol" (ternary "https" "http" $tls) "service" $service -}}
{{- $_ := mergeOverwrite .into $found -}}
{{- end -}}
{{- end -}}
{{- end -}}
