{{/* The environment of a service's container. Takes {root, name, service}. */}}
{{- define "bowerbird.environment" -}}
{{- $values := .root.Values -}}
- {name: BOWERBIRD_HOME, value: /var/lib/bowerbird}
- {name: BOWERBIRD_LOG_LEVEL, value: {{ $values.telemetry.logLevel }}}
- {name: TMPDIR, value: /tmp}
{{- if $values.telemetry.endpoint }}
- {name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ $values.telemetry.endpoint | quote }}}
{{- end }}
{{- if .service.model.path }}
- name: {{ eq .name "curation" | ternary "BOWERBIRD_JUDGE" "BOWERBIRD_MODEL" }}
  value: {{ printf "/models/%s" .service.model.path }}
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
{{- range $setting, $value := .service.settings }}
- {name: BOWERBIRD_{{ upper $setting }}, value: {{ $value | toString | quote }}}
{{- end }}
{{- end -}}

{{/* What only the gateway is told: where it is, where the others are, and whom it knows. */}}
{{- define "bowerbird.gatewayEnvironment" -}}
{{- $values := .root.Values -}}
- {name: BOWERBIRD_HOST, value: 0.0.0.0}
- {name: BOWERBIRD_PORT, value: {{ .service.port | quote }}}
{{- range $other, $service := include "bowerbird.services" .root | fromJson }}
{{- if ne $other "gateway" }}
- {name: BOWERBIRD_{{ $other | replace "-" "_" | upper }}_URL, value: "http://{{ $other }}:{{ $service.port }}"}
{{- end }}
{{- end }}
{{- with $values.credentials.adminKeys }}
- name: BOWERBIRD_ADMIN_KEYS
  valueFrom: {secretKeyRef: {name: {{ $values.credentials.existingSecret }}, key: {{ . }}}}
{{- end }}
{{- with $values.credentials.apiKeys }}
- name: BOWERBIRD_API_KEYS
  valueFrom: {secretKeyRef: {name: {{ $values.credentials.existingSecret }}, key: {{ . }}}}
{{- end }}
{{- if $values.database.existingSecret }}
- name: BOWERBIRD_DATABASE_URL
  valueFrom: {secretKeyRef: {name: {{ $values.database.existingSecret }}, key: {{ $values.database.urlKey }}}}
- name: POD_IP
  valueFrom: {fieldRef: {fieldPath: status.podIP}}
- {name: BOWERBIRD_REPLICA_URL, value: "http://$(POD_IP):{{ .service.port }}"}
{{- end }}
{{- if $values.webhooks.existingSecret }}
- name: BOWERBIRD_WEBHOOK_KEYS
  valueFrom: {secretKeyRef: {name: {{ $values.webhooks.existingSecret }}, key: {{ $values.webhooks.keysKey }}}}
{{- end }}
{{- if $values.pictures.url }}
- {name: BOWERBIRD_PICTURES_URL, value: {{ $values.pictures.url | quote }}}
{{- end }}
{{- if $values.serviceAccountTokens.tenants }}
- {name: BOWERBIRD_SERVICE_ACCOUNTS, value: {{ $values.serviceAccountTokens.tenants | toJson | quote }}}
{{- end }}
{{- end -}}
