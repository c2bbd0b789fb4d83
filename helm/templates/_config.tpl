{{/* A value as TOML. What JSON writes as a text, a truth value or a list of them is TOML too; a table is not. */}}
{{- define "landbridge.toml" -}}
{{- if kindIs "map" . -}}
{{- $parts := list -}}
{{- range $key, $value := . -}}
{{- $parts = append $parts (printf "%s = %s" ($key | toJson) (include "landbridge.toml" $value)) -}}
{{- end -}}
{ {{ join ", " $parts }} }
{{- else if kindIs "slice" . -}}
{{- $parts := list -}}
{{- range . -}}
{{- $parts = append $parts (include "landbridge.toml" .) -}}
{{- end -}}
[{{ join ", " $parts }}]
{{- else if or (kindIs "float64" .) (kindIs "int64" .) (kindIs "int" .) -}}
{{ int64 . }}
{{- else -}}
{{ toJson . }}
{{- end -}}
{{- end -}}

{{/* The keys of a section, a line each. */}}
{{- define "landbridge.tomlLines" -}}
{{- range $key, $value := . }}
{{ $key | toJson }} = {{ include "landbridge.toml" $value }}
{{- end -}}
{{- end -}}

{{/* The doors of senders; `NAME: null` takes one of the defaults away. */}}
{{- define "landbridge.doors" -}}
{{- $doors := dict -}}
{{- range $name, $door := .Values.mllp -}}
{{- if $door }}{{ $_ := set $doors $name $door }}{{ end -}}
{{- end -}}
{{- toYaml $doors -}}
{{- end -}}

{{- define "landbridge.doorTls" -}}
{ certificate = "/etc/landbridge/tls/tls.crt", key = "/etc/landbridge/tls/tls.key", client_ca = {{ printf "/etc/landbridge/client-ca/%s" .Values.clientCa.key | toJson }} }
{{- end -}}

{{/* landbridge.toml: as it was given, or made of the values. */}}
{{- define "landbridge.config" -}}
{{- if .Values.config -}}
{{ .Values.config }}
{{- else -}}
[store]
engine = "sqlite"
directory = "/var/lib/landbridge/store"

[keys]
id = "/etc/landbridge/keys/id.key"
seal = "/etc/landbridge/keys/seal.key"

[audit]
seals = {{ .Values.audit.seals | toJson }}

[https]
listen = "0.0.0.0:{{ .Values.https.port | int64 }}"
base_url = {{ required "https.baseUrl is missing: write what apps call, e.g. https://fhir.hospital.example/fhir" .Values.https.baseUrl | toJson }}
{{- if not (hasKey .Values.https.settings "tls") }}
tls = {{ include "landbridge.doorTls" . }}
{{- end }}
{{- include "landbridge.tomlLines" .Values.https.settings }}

[observe]
listen = "0.0.0.0:9464"
{{- range $name, $door := include "landbridge.doors" . | fromYaml }}

[mllp.{{ $name | toJson }}]
listen = "0.0.0.0:{{ $door.port | int64 }}"
{{- if not (hasKey $door "tls") }}
tls = {{ include "landbridge.doorTls" $ }}
{{- end }}
{{- include "landbridge.tomlLines" (omit $door "port") }}
{{- end }}
{{- range $name, $feed := .Values.feeds }}

[feed.{{ $name | toJson }}]
{{- include "landbridge.tomlLines" $feed }}
{{- end }}
{{- range .Values.issuers }}

[[issuer]]
{{- include "landbridge.tomlLines" (omit . "jwks") }}
jwks = {{ printf "/etc/landbridge/jwks/%s" .jwks | toJson }}
{{- end }}
{{- with .Values.limits }}

[limits]
{{- include "landbridge.tomlLines" . }}
{{- end }}
{{- end }}
{{ end -}}

{{/* Where feeds' next hops are: `addresses`, each with its ports, and the `ports` of those that have a name. */}}
{{- define "landbridge.nextHops" -}}
{{- $config := include "landbridge.config" . | fromToml -}}
{{- $addresses := dict -}}
{{- $ports := list -}}
{{- range $feed := $config.feed -}}
{{- with $feed.relay -}}
{{- $port := regexFind "[0-9]+$" .to | int64 -}}
{{- $host := regexReplaceAll ":[0-9]+$" .to "" | trimPrefix "[" | trimSuffix "]" -}}
{{- $block := "" -}}
{{- if regexMatch "^[0-9]+([.][0-9]+){3}$" $host -}}
{{- $block = printf "%s/32" $host -}}
{{- else if contains ":" $host -}}
{{- $block = printf "%s/128" $host -}}
{{- end -}}
{{- if $block -}}
{{- $_ := set $addresses $block (append (default list (index $addresses $block)) $port | uniq) -}}
{{- else -}}
{{- $ports = append $ports $port | uniq -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- dict "addresses" $addresses "ports" $ports | toYaml -}}
{{- end -}}

{{/* Of what is read at the start alone: a change of it starts the pod anew. Feeds and issuers are taken in place. */}}
{{- define "landbridge.configAtStart" -}}
{{- $config := include "landbridge.config" . | fromToml -}}
{{- if hasKey $config "Error" -}}
{{- fail (printf "the configuration is no TOML: %s" $config.Error) -}}
{{- end -}}
{{- omit $config "feed" "issuer" | toJson | sha256sum -}}
{{- end -}}
