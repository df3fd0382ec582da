{{- /*
How values are written, as src/cli/render/scalar.rs and printer.rs do: so that each is read as itself, whatever is in
it. Numbers are written as JSON has them and never as 1e+06.
*/ -}}

{{- /* One text, number, truth value or list, in one line. A text is plain where nobody can take it for anything else. */ -}}
{{- define "scopegate.scalar" -}}
{{- if kindIs "invalid" . -}}
{{- fail "the chart shows what there is not, which is a fault of the chart" -}}
{{- end -}}
{{- include "scopegate.flow" . -}}
{{- end -}}

{{- /* Anything, in one line. */ -}}
{{- define "scopegate.flow" -}}
{{- if kindIs "slice" . -}}
[{{ range $at, $element := . }}{{ if $at }}, {{ end }}{{ include "scopegate.flow" $element }}{{ end }}]
{{- else if kindIs "map" . -}}
{ {{- range $at, $name := keys . | sortAlpha }}{{ if $at }}, {{ end }}{{ include "scopegate.flow" $name }}: {{ include "scopegate.flow" (index $ $name) }}{{ end -}} }
{{- else if not (typeIs "string" .) -}}
{{- if kindIs "float64" . -}}
{{- if or (ge . 9007199254740992.0) (le . -9007199254740992.0) -}}
{{- fail (printf "%v: a number that Helm may have read as another one: at most 2^53 - 1" .) -}}
{{- end -}}
{{- end -}}
{{ toRawJson . }}
{{- else if regexMatch "^[0-9]+(ms|s|m|h|Ki|Mi|Gi)$" . -}}
{{ . }}
{{- else if and (regexMatch "^[A-Za-z/][A-Za-z0-9_./@-]*$" .) (not (has (lower .) (list "true" "false" "yes" "no" "on" "off" "y" "n" "null" "nan"))) -}}
{{ . }}
{{- else if and (or (contains "://" .) (contains "@sha256:" .)) (regexMatch "^[A-Za-z/][A-Za-z0-9_./@:-]*[A-Za-z0-9_./@-]$" .) -}}
{{ . }}
{{- else -}}
{{- $quoted := toRawJson . -}}
{{- if regexMatch "[\\x7f-\\x{9f}\\x{feff}\\x{fffe}\\x{ffff}]" $quoted -}}
{{- range $code := concat (untilStep 127 160 1) (list 65279 65534 65535) -}}
{{- $quoted = replace (printf "%c" $code) (printf "\\u%04x" $code) $quoted -}}
{{- end -}}
{{- end -}}
{{ $quoted }}
{{- end -}}
{{- end -}}

{{- /* Whether `value` is a scalar or a list of scalars. */ -}}
{{- define "scopegate.simple" -}}
{{- $simple := true -}}
{{- if kindIs "map" . -}}
{{- $simple = empty . -}}
{{- else if kindIs "slice" . -}}
{{- range . }}{{ if or (kindIs "map" .) (kindIs "slice" .) }}{{ $simple = false }}{{ end }}{{ end -}}
{{- end -}}
{{- if $simple }}true{{ end -}}
{{- end -}}

{{- /* Whether `value` stands in one line. A member of the document itself (`top`) has lines of its own. */ -}}
{{- define "scopegate.short" -}}
{{- $value := .value -}}
{{- if not (or (kindIs "map" $value) (kindIs "slice" $value)) -}}
true
{{- else if empty $value -}}
true
{{- else if not (and .top (kindIs "map" $value)) -}}
{{- $short := true -}}
{{- range $value }}{{ if not (include "scopegate.simple" .) }}{{ $short = false }}{{ end }}{{ end -}}
{{- if and $short (le (len (include "scopegate.flow" $value)) 60) }}true{{ end -}}
{{- end -}}
{{- end -}}

{{- /* The members of `value`, each in a line or more, `indent` blanks in. */ -}}
{{- define "scopegate.members" -}}
{{- $indent := .indent -}}
{{- $top := .top -}}
{{- range $name, $value := .value -}}
{{- $name = include "scopegate.flow" $name -}}
{{- if include "scopegate.short" (dict "value" $value "top" $top) }}{{ repeat $indent " " }}{{ $name }}: {{ include "scopegate.flow" $value }}
{{ else }}{{ repeat $indent " " }}{{ $name }}:
{{ include "scopegate.block" (dict "value" $value "indent" (add $indent 2 | int)) }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "scopegate.block" -}}
{{- $indent := .indent -}}
{{- if kindIs "map" .value -}}
{{- include "scopegate.members" (dict "value" .value "indent" $indent "top" false) -}}
{{- else -}}
{{- range $element := .value -}}
{{- if include "scopegate.short" (dict "value" $element "top" false) }}{{ repeat $indent " " }}- {{ include "scopegate.flow" $element }}
{{ else -}}
{{- /* The first line of it begins behind the dash, as far in as the others. */ -}}
{{ repeat $indent " " }}- {{ include "scopegate.block" (dict "value" $element "indent" (add $indent 2 | int)) | trimAll " " }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
