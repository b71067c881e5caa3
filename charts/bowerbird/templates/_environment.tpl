{{/* The environment of a service's container: what the chart says, then the service's own settings. A variable that
stood there twice would be the API server's to refuse, with less of a reason. Takes {root, name, service}. */}}
{{- define "bowerbird.environment" -}}
{{- $given := include "bowerbird.givenEnvironment" . -}}
{{ $given }}
{{- range $setting, $value := .service.settings }}
{{- $variable := printf "BOWERBIRD_%s" (upper $setting) }}
{{- if contains (printf "name: %s," $variable) (replace "\n" "," $given) }}
{{- fail (printf "services.%s.settings.%s: the chart gives %s by values of its own (README.md)." $.name $setting $variable) }}
{{- end }}
- {name: {{ $variable }}, value: {{ include "bowerbird.setting" (dict "value" $value) | quote }}}
{{- end }}
{{- end -}}

{{/* A setting as text: JSON where it is a list or a map; a whole number without an exponent. Takes {value}. */}}
{{- define "bowerbird.setting" -}}
{{- if or (kindIs "map" .value) (kindIs "slice" .value) -}}
{{ toJson .value }}
{{- else if and (kindIs "float64" .value) (eq .value (floor .value)) -}}
{{ int64 .value }}
{{- else -}}
{{ .value }}
{{- end -}}
{{- end -}}

{{/* What the chart itself says to a service. */}}
{{- define "bowerbird.givenEnvironment" -}}
{{- $values := .root.Values -}}
- {name: BOWERBIRD_HOME, value: /var/lib/bowerbird}
- {name: BOWERBIRD_LOG_LEVEL, value: {{ $values.telemetry.logLevel }}}
- {name: TMPDIR, value: /tmp}
{{- if $values.telemetry.endpoint }}
- {name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ $values.telemetry.endpoint | quote }}}
{{- end }}
{{- if include "bowerbird.tlsSecret" . }}
- {name: BOWERBIRD_TLS_CERTIFICATE, value: /etc/bowerbird/inside/tls.crt}
- {name: BOWERBIRD_TLS_KEY, value: /etc/bowerbird/inside/tls.key}
- {name: BOWERBIRD_TLS_CA, value: /etc/bowerbird/inside/ca.crt}
- {name: BOWERBIRD_TLS_NAME, value: {{ include "bowerbird.tlsName" .root | quote }}}
{{- end }}
{{- with include "bowerbird.bundle" . }}
- name: {{ get (dict "animation" "BOWERBIRD_MOTION_MODEL" "curation" "BOWERBIRD_JUDGE") $.name | default "BOWERBIRD_MODEL" }}
  value: /models/{{ . }}
{{- end }}
{{- if eq .name "gateway" }}
{{ include "bowerbird.gatewayEnvironment" . }}
{{- end }}
{{- if and (eq .name "curation") $values.signing.existingSecret }}
- {name: BOWERBIRD_CERTIFICATE, value: /etc/bowerbird/signing/{{ $values.signing.certificateKey }}}
- {name: BOWERBIRD_CERTIFICATE_KEY, value: /etc/bowerbird/signing/{{ $values.signing.privateKeyKey }}}
{{- if $values.signing.trustAnchorsKey }}
- {name: BOWERBIRD_TRUST_ANCHORS, value: /etc/bowerbird/signing/{{ $values.signing.trustAnchorsKey }}}
{{- end }}
{{- end }}
{{- end -}}

{{/* What only the gateway is told: where it is, where the others are, and whom it knows. */}}
{{- define "bowerbird.gatewayEnvironment" -}}
{{- $values := .root.Values -}}
{{- $scheme := include "bowerbird.tlsSecret" . | empty | ternary "http" "https" -}}
- {name: BOWERBIRD_HOST, value: 0.0.0.0}
- {name: BOWERBIRD_PORT, value: {{ .service.port | quote }}}
{{- range $other, $service := include "bowerbird.services" .root | fromJson }}
{{- if ne $other "gateway" }}
- {name: BOWERBIRD_{{ $other | replace "-" "_" | upper }}_URL, value: "{{ $scheme }}://{{ $other }}:{{ $service.port }}"}
{{- end }}
{{- end }}
- {name: BOWERBIRD_SECRETS, value: /etc/bowerbird/secrets}
- {name: BOWERBIRD_DRAIN_SECONDS, value: {{ sub (include "bowerbird.terminationSeconds" .) 10 | quote }}}
{{- if $values.database.existingSecret }}
- name: POD_IP
  valueFrom: {fieldRef: {fieldPath: status.podIP}}
{{- if eq $scheme "https" }}
- {name: BOWERBIRD_REPLICA_PORT, value: {{ include "bowerbird.replicaPort" .root | quote }}}
{{- end }}
- {name: BOWERBIRD_REPLICA_URL, value: "{{ $scheme }}://$(POD_IP):{{ eq $scheme "https" | ternary (include "bowerbird.replicaPort" .root) .service.port }}"}
{{- end }}
{{- if include "bowerbird.watchesPods" .root }}
- name: BOWERBIRD_KUBERNETES_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
{{- end }}
{{- if $values.pictures.url }}
- {name: BOWERBIRD_PICTURES_URL, value: {{ $values.pictures.url | quote }}}
{{- end }}
{{- if $values.pictures.existingSecret }}
- {name: BOWERBIRD_PICTURES_SECRETS, value: /etc/bowerbird/pictures}
{{- end }}
{{- with include "bowerbird.asleep" .root | fromJsonArray }}
- {name: BOWERBIRD_STAGES_ASLEEP, value: {{ . | toJson | quote }}}
- {name: BOWERBIRD_SCALER_PORT, value: {{ include "bowerbird.scalerPort" $.root | quote }}}
- {name: BOWERBIRD_WAKE_SECONDS, value: {{ $values.keda.wakeSeconds | quote }}}
- {name: BOWERBIRD_NODE_SECONDS, value: {{ $values.keda.nodeSeconds | quote }}}
{{- with include "bowerbird.floors" $.root | fromJson }}
- {name: BOWERBIRD_DEMAND_FLOORS, value: {{ . | toJson | quote }}}
{{- end }}
{{- with include "bowerbird.schedules" $.root | fromJsonArray }}
- {name: BOWERBIRD_DEMAND_SCHEDULES, value: {{ . | toJson | quote }}}
{{- end }}
{{- if $values.keda.tls.existingSecret }}
- {name: BOWERBIRD_SCALER_CERTIFICATE, value: /etc/bowerbird/scaler/tls.crt}
- {name: BOWERBIRD_SCALER_KEY, value: /etc/bowerbird/scaler/tls.key}
- {name: BOWERBIRD_SCALER_CLIENT_CA, value: /etc/bowerbird/scaler/ca.crt}
{{- end }}
{{- end }}
{{- if $values.serviceAccountTokens.tenants }}
- {name: BOWERBIRD_SERVICE_ACCOUNTS, value: {{ $values.serviceAccountTokens.tenants | toJson | quote }}}
{{- end }}
{{- end -}}

{{/* What the gateway reads its credentials from: files called as the variables, of existing Secrets. A Secret that
changes is taken over without a restart. Takes {root}. */}}
{{- define "bowerbird.credentials" -}}
{{- $values := .root.Values -}}
{{- $files := list -}}
{{- $files = append $files (list $values.credentials.existingSecret $values.credentials.adminKeys "bowerbird_admin_keys") -}}
{{- $files = append $files (list $values.credentials.existingSecret $values.credentials.apiKeys "bowerbird_api_keys") -}}
{{- $files = append $files (list $values.database.existingSecret $values.database.urlKey "bowerbird_database_url") -}}
{{- $files = append $files (list $values.webhooks.existingSecret $values.webhooks.keysKey "bowerbird_webhook_keys") -}}
defaultMode: 0440
sources:
  {{- range $files }}
  {{- if and (index . 0) (index . 1) }}
  - secret: {name: {{ index . 0 }}, items: [{key: {{ index . 1 }}, path: {{ index . 2 }}}]}
  {{- end }}
  {{- end }}
{{- end -}}
