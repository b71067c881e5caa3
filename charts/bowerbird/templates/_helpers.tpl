{{/* Every service with the defaults under its own values: key -> service, as JSON. The one place where they meet. */}}
{{- define "bowerbird.services" -}}
{{- $merged := dict -}}
{{- range $name, $own := .Values.services -}}
{{- $_ := set $merged $name (mergeOverwrite (deepCopy $.Values.defaults) (deepCopy $own)) -}}
{{- end -}}
{{- $merged | toJson -}}
{{- end -}}

{{/* Labels by which a service's pods are found; they never change in a release's life. Takes {root, name}. */}}
{{- define "bowerbird.selector" -}}
app.kubernetes.io/name: bowerbird
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .name }}
{{- end -}}

{{/* Labels of everything that belongs to a service. Takes {root, name}. */}}
{{- define "bowerbird.labels" -}}
{{ include "bowerbird.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{/* A service's image, by digest where there is one. Takes {root, service}. */}}
{{- define "bowerbird.image" -}}
{{- $name := printf "%s/%s" .root.Values.image.registry .service.image -}}
{{- if .service.digest -}}
{{ $name }}@{{ .service.digest }}
{{- else -}}
{{ $name }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* The claim that holds the gateway's state; nothing where PostgreSQL does, or nobody. */}}
{{- define "bowerbird.claim" -}}
{{- if not .Values.database.existingSecret -}}
{{- if .Values.storage.existingClaim -}}
{{ .Values.storage.existingClaim }}
{{- else if .Values.storage.size -}}
gateway
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What the schema cannot say, because it takes two values: nothing, or the sentence that stops the installation. */}}
{{- define "bowerbird.refusals" -}}
{{- $services := include "bowerbird.services" . | fromJson -}}
{{- $gateway := $services.gateway -}}
{{- if not $gateway -}}
{{- fail "services.gateway is missing: nothing would answer." -}}
{{- end -}}
{{- if not .Values.credentials.existingSecret -}}
{{- fail "credentials.existingSecret is empty: name a Secret with a key `admin-keys` whose value is a JSON list of administrators' keys. The gateway refuses to serve others than its own pod without one." -}}
{{- end -}}
{{- if and (not .Values.credentials.adminKeys) (not .Values.credentials.apiKeys) -}}
{{- fail "credentials.adminKeys and credentials.apiKeys are both empty: nobody would have a key." -}}
{{- end -}}
{{- if and (gt (int $gateway.replicas) 1) (not .Values.database.existingSecret) -}}
{{- fail "services.gateway.replicas is more than 1 and database.existingSecret is empty: several gateways share one PostgreSQL." -}}
{{- end -}}
{{- if and .Values.database.existingSecret (not .Values.webhooks.existingSecret) -}}
{{- fail "database.existingSecret is set and webhooks.existingSecret is empty: gateways that share a database need the same keys, a Secret with a JSON list of base64 of 32 bytes each (`openssl rand -base64 32`)." -}}
{{- end -}}
{{- if and .Values.database.existingSecret (not .Values.pictures.url) -}}
{{- fail "database.existingSecret is set and pictures.url is empty: pictures of jobs would lie in one gateway's own volume. Name a bucket: s3://bucket/path." -}}
{{- end -}}
{{- range $name, $service := $services -}}
{{- if and (ne $name "gateway") (gt (int $service.replicas) 1) -}}
{{- fail (printf "services.%s.replicas is more than 1: the gateway cannot tell the pods of one Service apart yet." $name) -}}
{{- end -}}
{{- if and $service.model.image $service.model.claim -}}
{{- fail (printf "services.%s.model has an image and a claim: one of them holds the bundle." $name) -}}
{{- end -}}
{{- if and (or $service.model.image $service.model.claim) (not $service.model.path) -}}
{{- fail (printf "services.%s.model.path is empty: which folder below /models is the bundle?" $name) -}}
{{- end -}}
{{- if and $service.model.path (not (has $name (list "text-to-image" "curation"))) -}}
{{- fail (printf "services.%s.model: this service takes no bundle." $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
