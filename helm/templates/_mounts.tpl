{{/* Configuration, keys and certificates as files: what the gateway and the test of an installation read. */}}
{{- define "landbridge.configMounts" -}}
- name: config
  mountPath: /etc/landbridge/config
  readOnly: true
- name: keys
  mountPath: /etc/landbridge/keys
  readOnly: true
- name: tls
  mountPath: /etc/landbridge/tls
  readOnly: true
- name: client-ca
  mountPath: /etc/landbridge/client-ca
  readOnly: true
{{- if or .Values.jwks.existingConfigMap .Values.jwks.existingSecret }}
- name: jwks
  mountPath: /etc/landbridge/jwks
  readOnly: true
{{- end }}
{{- if .Values.relay.existingSecret }}
- name: relay
  mountPath: /etc/landbridge/relay
  readOnly: true
{{- end }}
{{- end -}}

{{- define "landbridge.configVolumes" -}}
- name: config
  configMap:
    name: {{ include "landbridge.fullname" . }}
- name: keys
  secret:
    secretName: {{ required "keys.existingSecret is missing: make id.key, seal.key and seal.pub once (README of the chart, Keys), keep a copy, and name their Secret" .Values.keys.existingSecret }}
    defaultMode: 0440
- name: tls
  secret:
    secretName: {{ include "landbridge.tlsSecret" . }}
    defaultMode: 0440
- name: client-ca
  {{- if .Values.clientCa.existingConfigMap }}
  configMap:
    name: {{ .Values.clientCa.existingConfigMap }}
  {{- else }}
  secret:
    secretName: {{ required "clientCa.existingSecret is missing: a Secret or ConfigMap with the authorities of senders' and apps' certificates" .Values.clientCa.existingSecret }}
    defaultMode: 0440
  {{- end }}
{{- if .Values.jwks.existingConfigMap }}
- name: jwks
  configMap:
    name: {{ .Values.jwks.existingConfigMap }}
{{- else if .Values.jwks.existingSecret }}
- name: jwks
  secret:
    secretName: {{ .Values.jwks.existingSecret }}
    defaultMode: 0440
{{- end }}
{{- if .Values.relay.existingSecret }}
- name: relay
  secret:
    secretName: {{ .Values.relay.existingSecret }}
    defaultMode: 0440
{{- end }}
{{- end -}}
