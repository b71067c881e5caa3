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

{{/* Folder below /models of the bundle that a service is given; nothing where it takes the one in its image. Takes
{service}. */}}
{{- define "bowerbird.bundle" -}}
{{ .service.model.path | default (.service.model.url | empty | ternary "" "bundle") }}
{{- end -}}

{{/* What a ResourceClaimTemplate asks for. Takes {service}. */}}
{{- define "bowerbird.deviceRequest" -}}
name: accelerator
exactly:
  deviceClassName: {{ .service.accelerator.deviceClass }}
  allocationMode: ExactCount
  count: {{ .service.accelerator.count }}
  {{- with .service.accelerator.selectors }}
  selectors:
    {{- range . }}
    - cel: {expression: {{ . | quote }}}
    {{- end }}
  {{- end }}
{{- end -}}

{{/* The ResourceClaimTemplate of a service's pods; nothing where they claim no device. One cannot be changed, so its name
says what is in it. Takes {name, service}. */}}
{{- define "bowerbird.claimTemplate" -}}
{{- if .service.accelerator.deviceClass -}}
{{ .name }}-{{ include "bowerbird.deviceRequest" . | sha256sum | trunc 8 }}
{{- else -}}
{{ .service.accelerator.claimTemplate }}
{{- end -}}
{{- end -}}

{{/* Taints of nodes that have what a service takes, a JSON list: named like the resource, and those of NVIDIA's devices, whole
or in parts, by resource or claim, `nvidia.com/gpu`, as its own guides have it. Takes {service}. */}}
{{- define "bowerbird.taints" -}}
{{- $accelerator := .service.accelerator -}}
{{- $taints := list -}}
{{- if $accelerator.resource -}}
{{- $taints = append $taints $accelerator.resource -}}
{{- end -}}
{{- if or (hasPrefix "nvidia.com/" $accelerator.resource) (hasSuffix ".nvidia.com" $accelerator.deviceClass) -}}
{{- $taints = append $taints "nvidia.com/gpu" -}}
{{- end -}}
{{- $taints | uniq | toJson -}}
{{- end -}}

{{/* Seconds that a service has by one of its settings, rounded up; 120, as settings.py has it, where it says nothing. Takes
{service, setting}. */}}
{{- define "bowerbird.settingSeconds" -}}
{{ get .service.settings .setting | default 120 | float64 | ceil | int }}
{{- end -}}

{{/* Seconds that a pod needs between being told to end and its end. The gateway finishes what waits for its turn and is
then computed, between 5 seconds in which it is still found and 5 in which it closes; a model service what is computed,
which its drain is given 5 seconds more than, and 10 to close. Takes {root, service, name}. */}}
{{- define "bowerbird.neededSeconds" -}}
{{- $gateway := (include "bowerbird.services" .root | fromJson).gateway -}}
{{- $computing := include "bowerbird.settingSeconds" (dict "service" $gateway "setting" "request_timeout_seconds") | int -}}
{{- if eq .name "gateway" -}}
{{ add (include "bowerbird.settingSeconds" (dict "service" $gateway "setting" "queue_timeout_seconds") | int) $computing 10 }}
{{- else -}}
{{ add (max $computing (include "bowerbird.settingSeconds" (dict "service" .service "setting" "request_timeout_seconds") | int)) 15 }}
{{- end -}}
{{- end -}}

{{/* Seconds that it is given. Takes {root, service, name}. */}}
{{- define "bowerbird.terminationSeconds" -}}
{{ .service.terminationSeconds | default (include "bowerbird.neededSeconds" .) }}
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

{{/* Services that have no pods while nobody wants them: a JSON list. */}}
{{- define "bowerbird.asleep" -}}
{{- $asleep := list -}}
{{- range $name, $service := include "bowerbird.services" . | fromJson -}}
{{- if eq $service.scaling.kind "keda" -}}
{{- $asleep = append $asleep $name -}}
{{- end -}}
{{- end -}}
{{- $asleep | toJson -}}
{{- end -}}

{{/* Service -> pods that the gateway wants of it whatever the work: a JSON map. */}}
{{- define "bowerbird.floors" -}}
{{- $floors := dict -}}
{{- range $name, $service := include "bowerbird.services" . | fromJson -}}
{{- if and (eq $service.scaling.kind "keda") $service.scaling.floor -}}
{{- $_ := set $floors $name (int64 $service.scaling.floor) -}}
{{- end -}}
{{- end -}}
{{- $floors | toJson -}}
{{- end -}}

{{/* What it wants at certain hours: a JSON list. */}}
{{- define "bowerbird.schedules" -}}
{{- $schedules := list -}}
{{- range $name, $service := include "bowerbird.services" . | fromJson -}}
{{- range $service.scaling.schedules -}}
{{- $schedules = append $schedules (mergeOverwrite (dict "service" $name) .) -}}
{{- end -}}
{{- end -}}
{{- $schedules | toJson -}}
{{- end -}}

{{/* Secret with the certificate that KEDA shows the gateway; nothing where they speak without TLS. */}}
{{- define "bowerbird.kedaSecret" -}}
{{- with .Values.keda.tls -}}
{{- if .existingSecret -}}{{ .clientSecret | default .existingSecret }}{{- end -}}
{{- end -}}
{{- end -}}

{{/* Secret with the certificate that a service's pods show each other; nothing where they speak without TLS. Takes {root,
name}. */}}
{{- define "bowerbird.tlsSecret" -}}
{{- with .root.Values.tls -}}
{{- if .issuer.name -}}{{ $.name }}-tls{{- else -}}{{ .existingSecret }}{{- end -}}
{{- end -}}
{{- end -}}

{{/* The name that these certificates are made out to. */}}
{{- define "bowerbird.tlsName" -}}
{{ .Values.tls.name | default (printf "%s.%s" .Release.Name .Release.Namespace) }}
{{- end -}}

{{/* Port at which the kubelet and Prometheus ask a model service that else answers members of the release only. */}}
{{- define "bowerbird.healthPort" -}}9091{{- end -}}

{{/* Port at which other gateways come then, and nobody else. */}}
{{- define "bowerbird.replicaPort" -}}9092{{- end -}}

{{/* Port at which the kubelet asks whether the gateway lives; who holds its socket says so. */}}
{{- define "bowerbird.livenessPort" -}}9093{{- end -}}

{{/* Whether the gateway has to watch the services' pods: "true" where they come and go, else nothing. */}}
{{- define "bowerbird.watchesPods" -}}
{{- $watches := "" -}}
{{- range $name, $service := include "bowerbird.services" . | fromJson -}}
{{- if and (ne $name "gateway") (or (ne $service.scaling.kind "fixed") (gt (int $service.replicas) 1)) -}}
{{- $watches = "true" -}}
{{- end -}}
{{- end -}}
{{- $watches -}}
{{- end -}}

{{/* Whether the gateway has anything to ask the API server: "true", or nothing. */}}
{{- define "bowerbird.asksApiServer" -}}
{{- if or .Values.serviceAccountTokens.tenants (include "bowerbird.watchesPods" .) -}}true{{- end -}}
{{- end -}}

{{/* Port at which the gateway tells KEDA how many pods are wanted. */}}
{{- define "bowerbird.scalerPort" -}}9090{{- end -}}

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
{{- if and (or (gt (int $gateway.replicas) 1) (eq $gateway.scaling.kind "hpa")) (not .Values.database.existingSecret) -}}
{{- fail "services.gateway has more than one pod and database.existingSecret is empty: several gateways share one PostgreSQL." -}}
{{- end -}}
{{- if and .Values.database.existingSecret (not .Values.webhooks.existingSecret) -}}
{{- fail "database.existingSecret is set and webhooks.existingSecret is empty: gateways that share a database need the same keys, a Secret with a JSON list of base64 of 32 bytes each (`openssl rand -base64 32`)." -}}
{{- end -}}
{{- if and .Values.database.existingSecret (not .Values.pictures.url) -}}
{{- fail "database.existingSecret is set and pictures.url is empty: pictures of jobs would lie in one gateway's own volume. Name a bucket: s3://bucket/path." -}}
{{- end -}}
{{- if and .Values.keda.tls.clientSecret (not .Values.keda.tls.existingSecret) -}}
{{- fail "keda.tls.clientSecret is set and keda.tls.existingSecret is empty: KEDA would show a certificate to a gateway that has none." -}}
{{- end -}}
{{- $backup := .Values.backup -}}
{{- if and $backup.restore (not $backup.url) -}}
{{- fail "backup.restore is set and backup.url is empty: where is the backup?" -}}
{{- end -}}
{{- if and $backup.url (not .Values.database.existingSecret) (not (include "bowerbird.claim" .)) -}}
{{- fail "backup.url is set, and rows and pictures lie in the gateway's own pod, where no other comes: set storage.size, or database.existingSecret." -}}
{{- end -}}
{{- if and (hasPrefix "file:" $backup.url) (not (and $backup.existingClaim (hasPrefix "file:///backup" $backup.url))) -}}
{{- fail "backup.url is a folder: name a claim, backup.existingClaim, which is mounted at /backup, and a folder in it, file:///backup." -}}
{{- end -}}
{{- if and $backup.existingSecret (not (hasPrefix "s3:" $backup.url)) -}}
{{- fail "backup.existingSecret is for a bucket, and backup.url names none." -}}
{{- end -}}
{{- if and .Values.tls.existingSecret .Values.tls.issuer.name -}}
{{- fail "tls.existingSecret and tls.issuer.name are both set: a certificate is there already, or is asked for." -}}
{{- end -}}
{{- if and .Values.tls.issuer.name (not (.Capabilities.APIVersions.Has "cert-manager.io/v1")) -}}
{{- fail "tls.issuer.name is set and this cluster has no cert-manager: install it (https://cert-manager.io/docs/installation/), or name a Secret: tls.existingSecret. `helm template` needs --api-versions cert-manager.io/v1." -}}
{{- end -}}
{{- range $name, $service := $services -}}
{{- $isGateway := eq $name "gateway" -}}
{{- if and $isGateway (eq $service.scaling.kind "keda") -}}
{{- fail "services.gateway.scaling.kind is keda: the gateway is what wakes the others. Use fixed or hpa." -}}
{{- end -}}
{{- if and (eq $service.scaling.kind "keda") (not ($.Capabilities.APIVersions.Has "keda.sh/v1alpha1")) -}}
{{- fail (printf "services.%s.scaling.kind is keda and this cluster has no KEDA: install it (https://keda.sh/docs/latest/deploy/), or set `fixed`. `helm template` needs --api-versions keda.sh/v1alpha1." $name) -}}
{{- end -}}
{{- if and (eq $service.scaling.kind "hpa") (or (lt (int $service.scaling.minReplicas) 1) (not $service.scaling.metrics)) -}}
{{- fail (printf "services.%s.scaling.kind is hpa: minReplicas must be 1 or more, and metrics must name what is counted." $name) -}}
{{- end -}}
{{- if and (ne $service.scaling.kind "hpa") $service.scaling.metrics -}}
{{- fail (printf "services.%s.scaling.metrics is for kind hpa; with keda the gateway counts, with fixed nobody." $name) -}}
{{- end -}}
{{- if and (ne $service.scaling.kind "fixed") (gt (int $service.scaling.minReplicas) (int $service.scaling.maxReplicas)) -}}
{{- fail (printf "services.%s.scaling.minReplicas is more than maxReplicas." $name) -}}
{{- end -}}
{{- if and (or $service.scaling.floor $service.scaling.schedules) (ne $service.scaling.kind "keda") -}}
{{- fail (printf "services.%s.scaling.floor and schedules are for kind keda; with fixed there are `replicas` pods, with hpa `minReplicas` at least." $name) -}}
{{- end -}}
{{- if gt (int $service.scaling.floor) (int $service.scaling.maxReplicas) -}}
{{- fail (printf "services.%s.scaling.floor is more than maxReplicas." $name) -}}
{{- end -}}
{{- range $service.scaling.schedules -}}
{{- if gt (int .pods) (int $service.scaling.maxReplicas) -}}
{{- fail (printf "services.%s.scaling.schedules: %q wants more pods than maxReplicas." $name .cron) -}}
{{- end -}}
{{- end -}}
{{- $accelerator := $service.accelerator -}}
{{- if gt (len (compact (list $accelerator.resource $accelerator.deviceClass $accelerator.claimTemplate))) 1 -}}
{{- fail (printf "services.%s.accelerator: resource, deviceClass and claimTemplate are three ways to the same: name one." $name) -}}
{{- end -}}
{{- if and $accelerator.selectors (not $accelerator.deviceClass) -}}
{{- fail (printf "services.%s.accelerator.selectors choose among the devices of deviceClass, which is empty." $name) -}}
{{- end -}}
{{- if and (gt (int $accelerator.count) 1) (not (or $accelerator.resource $accelerator.deviceClass)) -}}
{{- fail (printf "services.%s.accelerator.count is %d, of nothing: name resource or deviceClass." $name (int $accelerator.count)) -}}
{{- end -}}
{{- if and $isGateway (or $accelerator.resource $accelerator.deviceClass $accelerator.claimTemplate) -}}
{{- fail "services.gateway.accelerator: the gateway computes nothing that one would help with." -}}
{{- end -}}
{{- $needed := include "bowerbird.neededSeconds" (dict "root" $ "name" $name "service" $service) | int -}}
{{- if and $service.terminationSeconds (lt (int $service.terminationSeconds) $needed) -}}
{{- fail (printf "services.%s.terminationSeconds is %d: by request_timeout_seconds%s a pod that is told to end needs %d to finish what it has. Say so many or more, or 0, which is that." $name (int $service.terminationSeconds) ($isGateway | ternary " and queue_timeout_seconds" " (services.gateway.settings)") $needed) -}}
{{- end -}}
{{- $backend := get $service.settings "backend" | default "cpu" -}}
{{- if and (ne $backend "cpu") (eq $service.image "bowerbird-inference") (not $service.digest) -}}
{{- fail (printf "services.%s.settings.backend is %s, and the image bowerbird-inference computes on CPUs: name one that has this backend, services.%s.image (for cuda and tensorrt `bowerbird-inference-cuda`, which Dockerfile.inference builds with PROVIDER=cuda)." $name $backend $name) -}}
{{- end -}}
{{- $model := $service.model -}}
{{- $sources := compact (list $model.image $model.claim $model.url) -}}
{{- if and (or $sources $model.path) (not (has $name (list "text-to-image" "animation" "curation"))) -}}
{{- fail (printf "services.%s.model: this service takes no bundle." $name) -}}
{{- end -}}
{{- if gt (len $sources) 1 -}}
{{- fail (printf "services.%s.model: image, claim and url are three ways to the same: one of them holds the bundle." $name) -}}
{{- end -}}
{{- if and (or $model.image $model.claim) (not $model.path) -}}
{{- fail (printf "services.%s.model.path is empty: which folder below /models is the bundle?" $name) -}}
{{- end -}}
{{- if and $model.path (not $sources) -}}
{{- fail (printf "services.%s.model.path is set, and nothing holds the bundle: name image, claim or url." $name) -}}
{{- end -}}
{{- if and (or $model.existingSecret $model.digest) (not $model.url) -}}
{{- fail (printf "services.%s.model.existingSecret and digest are for a bucket, and model.url names none." $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
