{{/* A service's Deployment. Takes {root, name, service}, and `hook` where Helm is to make it, with no pods, before it
installs it: see own-replicas.yaml. */}}
{{- define "bowerbird.deployment" -}}
{{- $values := .root.Values -}}
{{- $service := .service -}}
{{- $isGateway := eq .name "gateway" -}}
{{- $claim := $isGateway | ternary (include "bowerbird.claim" .root) "" -}}
{{- $tlsSecret := and $isGateway (include "bowerbird.asleep" .root | fromJsonArray) $values.keda.tls.existingSecret -}}
{{- $claimTemplate := include "bowerbird.claimTemplate" . -}}
{{- $inside := include "bowerbird.tlsSecret" . -}}
{{- $health := and $inside (not $isGateway) | empty | ternary "http" "health" -}}
{{- $bundle := include "bowerbird.bundle" . -}}
{{- $terminationSeconds := include "bowerbird.terminationSeconds" . -}}
{{- $isSigned := and (eq .name "curation") $values.signing.existingSecret -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .name }}
  namespace: {{ .root.Release.Namespace }}
  labels: {{- include "bowerbird.labels" . | nindent 4 }}
  {{- if .hook }}
  annotations:
    helm.sh/hook: {{ .hook | quote }}
    helm.sh/hook-weight: "-10"
    meta.helm.sh/release-name: {{ .root.Release.Name }} # so that Helm takes it over where it was left half made
    meta.helm.sh/release-namespace: {{ .root.Release.Namespace }}
  {{- end }}
spec:
  {{- if .hook }}
  replicas: 0
  {{- else if eq $service.scaling.kind "fixed" }}
  replicas: {{ $service.replicas }}
  {{- end }}
  selector:
    matchLabels: {{- include "bowerbird.selector" . | nindent 6 }}
  strategy:
    {{- if and $isGateway (not $values.database.existingSecret) }}
    type: Recreate # SQLite, and perhaps a volume, have one gateway at a time
    {{- else if or $service.accelerator.resource $claimTemplate }}
    rollingUpdate: {maxSurge: 0, maxUnavailable: 1} # one pod more than there are accelerators never starts
    {{- else }}
    rollingUpdate: {maxSurge: 1, maxUnavailable: 0}
    {{- end }}
  template:
    metadata:
      labels: {{- include "bowerbird.labels" . | nindent 8 }}
      {{- with $service.podAnnotations }}
      annotations: {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      serviceAccountName: {{ .name }}
      automountServiceAccountToken: {{ and $isGateway (not (empty (include "bowerbird.asksApiServer" .root))) }}
      enableServiceLinks: false
      shareProcessNamespace: true # process 1 does not hear SIGTERM before it listens for it, that is while it starts
      terminationGracePeriodSeconds: {{ $terminationSeconds }}
      securityContext:
        runAsNonRoot: true
        runAsUser: 65532
        runAsGroup: 65532
        fsGroup: 65532
        fsGroupChangePolicy: OnRootMismatch
        seccompProfile: {type: RuntimeDefault}
      {{- with $values.image.pullSecrets }}
      imagePullSecrets:
        {{- range . }}
        - name: {{ . }}
        {{- end }}
      {{- end }}
      {{- with $service.priorityClassName }}
      priorityClassName: {{ . }}
      {{- end }}
      {{- with $service.runtimeClassName }}
      runtimeClassName: {{ . }}
      {{- end }}
      {{- with $service.nodeSelector }}
      nodeSelector: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- $taints := include "bowerbird.taints" . | fromJsonArray }}
      {{- if or $service.tolerations $taints }}
      tolerations:
        {{- range $taints }}
        - {key: {{ . }}, operator: Exists, effect: NoSchedule}
        {{- end }}
        {{- with $service.tolerations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- end }}
      {{- with $claimTemplate }}
      resourceClaims: [{name: accelerator, resourceClaimTemplateName: {{ . }}}]
      {{- end }}
      {{- with $service.affinity }}
      affinity: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $service.topologySpreadConstraints }}
      topologySpreadConstraints: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- if and $isGateway $values.backup.restore }}
      initContainers:
        - name: restore
          image: {{ include "bowerbird.image" . }}
          imagePullPolicy: {{ $values.image.pullPolicy }}
          terminationMessagePolicy: FallbackToLogsOnError
          command: [bowerbird, backup, restore, {{ $values.backup.restore | quote }}, --if-empty]
          env:
            {{- include "bowerbird.environment" . | nindent 12 }}
            {{- include "bowerbird.backupEnvironment" .root | nindent 12 }}
          resources: {{- toYaml $values.backup.resources | nindent 12 }}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {drop: [ALL]}
          volumeMounts:
            - {name: home, mountPath: /var/lib/bowerbird}
            - {name: scratch, mountPath: /tmp}
            - {name: credentials, mountPath: /etc/bowerbird/secrets, readOnly: true}
            {{- with include "bowerbird.bucketMounts" (dict "root" .root "backups" true) | trim }}
            {{- . | nindent 12 }}
            {{- end }}
            {{- if $values.backup.existingClaim }}
            - {name: backup, mountPath: /backup, readOnly: true}
            {{- end }}
      {{- else if $service.model.url }}
      initContainers:
        - name: fetch
          image: {{ include "bowerbird.image" (dict "root" .root "service" (include "bowerbird.services" .root | fromJson).gateway) }}
          imagePullPolicy: {{ $values.image.pullPolicy }}
          terminationMessagePolicy: FallbackToLogsOnError
          command: [python, -m, bowerbird.engine.fetching{{ if $service.model.existingSecret }}, --secrets, /etc/bowerbird/model{{ end }}, {{ $service.model.url | quote }}, /models/{{ $bundle }}{{ with $service.model.digest }}, --digest, {{ . | quote }}{{ end }}]
          {{- /* What the pod has anyway, and nobody else uses yet. */}}
          resources: {{- toYaml $service.resources | nindent 12 }}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {drop: [ALL]}
          volumeMounts:
            - {name: models, mountPath: /models}
            {{- if $service.model.existingSecret }}
            - {name: model-secret, mountPath: /etc/bowerbird/model, readOnly: true}
            {{- end }}
      {{- end }}
      containers:
        - name: {{ .name }}
          image: {{ include "bowerbird.image" . }}
          imagePullPolicy: {{ $values.image.pullPolicy }}
          terminationMessagePolicy: FallbackToLogsOnError # why it did not start stands in the pod's status
          {{- if $isGateway }}
          args: [--liveness-port, {{ include "bowerbird.livenessPort" .root | quote }}]
          {{- else if $service.serves }}
          args: [{{ $service.serves | quote }}, --port, {{ $service.port | quote }}{{ if $inside }}, --health-port, {{ include "bowerbird.healthPort" .root | quote }}{{ end }}]
          {{- end }}
          env: {{- include "bowerbird.environment" . | nindent 12 }}
          ports:
            - {name: http, containerPort: {{ $service.port }}}
            {{- if $isGateway }}
            - {name: liveness, containerPort: {{ include "bowerbird.livenessPort" .root }}}
            {{- end }}
            {{- if eq $health "health" }}
            - {name: health, containerPort: {{ include "bowerbird.healthPort" .root }}}
            {{- else if and $inside $values.database.existingSecret }}
            - {name: replicas, containerPort: {{ include "bowerbird.replicaPort" .root }}}
            {{- end }}
            {{- if and $isGateway (include "bowerbird.asleep" .root | fromJsonArray) }}
            - {name: scaler, containerPort: {{ include "bowerbird.scalerPort" .root }}}
            {{- end }}
          startupProbe:
            httpGet: {path: /readyz, port: {{ $health }}}
            periodSeconds: 1
            timeoutSeconds: 5
            failureThreshold: {{ $service.startupSeconds }}
          readinessProbe:
            httpGet: {path: /readyz, port: {{ $health }}}
            periodSeconds: 2
            timeoutSeconds: 5
          livenessProbe:
            httpGet: {path: /livez, port: {{ $isGateway | ternary "liveness" $health }}}
            periodSeconds: {{ $isGateway | ternary 1 10 }}
            timeoutSeconds: {{ $isGateway | ternary 1 5 }}
            failureThreshold: {{ $isGateway | ternary 5 3 }}
            # One that does not answer finishes nothing, and is not given its whole grace: the next one is waited for.
            terminationGracePeriodSeconds: {{ $isGateway | ternary 1 30 }}
          lifecycle:
            preStop:
              {{- if $isGateway }}
              sleep: {seconds: 5} # until nobody sends new requests here
              {{- else }}
              # No new work from now on; it answers when what there is has been done.
              httpGet: {path: "/drain?seconds={{ sub $terminationSeconds 10 }}", port: {{ $health }}}
              {{- end }}
          resources:
            {{- $resources := deepCopy $service.resources }}
            {{- with $service.accelerator.resource }}
            {{- $resources = mergeOverwrite $resources (dict "limits" (dict . $service.accelerator.count)) }}
            {{- end }}
            {{- if $claimTemplate }}
            {{- $resources = mergeOverwrite $resources (dict "claims" (list (dict "name" "accelerator"))) }}
            {{- end }}
            {{- toYaml $resources | nindent 12 }}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {drop: [ALL]}
          volumeMounts:
            - {name: home, mountPath: /var/lib/bowerbird}
            - {name: scratch, mountPath: /tmp}
            {{- if $isGateway }}
            - {name: credentials, mountPath: /etc/bowerbird/secrets, readOnly: true}
            {{- with include "bowerbird.bucketMounts" (dict "root" .root "backups" false) | trim }}
            {{- . | nindent 12 }}
            {{- end }}
            {{- end }}
            {{- if $tlsSecret }}
            - {name: scaler, mountPath: /etc/bowerbird/scaler, readOnly: true}
            {{- end }}
            {{- if $inside }}
            - {name: inside, mountPath: /etc/bowerbird/inside, readOnly: true}
            {{- end }}
            {{- if $bundle }}
            - {name: models, mountPath: /models, readOnly: true}
            {{- end }}
            {{- if $isSigned }}
            - {name: signing, mountPath: /etc/bowerbird/signing, readOnly: true}
            {{- end }}
      volumes:
        - name: home
          {{- if $claim }}
          persistentVolumeClaim: {claimName: {{ $claim }}}
          {{- else }}
          emptyDir: {sizeLimit: {{ $service.scratch }}}
          {{- end }}
        - name: scratch
          emptyDir: {sizeLimit: {{ $service.scratch }}}
        {{- if $isGateway }}
        - name: credentials
          projected: {{- include "bowerbird.credentials" . | nindent 12 }}
        {{- with include "bowerbird.bucketVolumes" (dict "root" .root "backups" $values.backup.restore) | trim }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- end }}
        {{- if and $isGateway $values.backup.restore $values.backup.existingClaim }}
        - name: backup
          persistentVolumeClaim: {claimName: {{ $values.backup.existingClaim }}}
        {{- end }}
        {{- if $tlsSecret }}
        - name: scaler
          secret:
            secretName: {{ $tlsSecret }}
            defaultMode: 0440
            items:
              - {key: {{ $values.keda.tls.certificateKey }}, path: tls.crt}
              - {key: {{ $values.keda.tls.privateKeyKey }}, path: tls.key}
              - {key: {{ $values.keda.tls.caKey }}, path: ca.crt}
        {{- end }}
        {{- if $inside }}
        - name: inside
          secret:
            secretName: {{ $inside }}
            defaultMode: 0440
            items:
              - {key: {{ $values.tls.certificateKey }}, path: tls.crt}
              - {key: {{ $values.tls.privateKeyKey }}, path: tls.key}
              - {key: {{ $values.tls.caKey }}, path: ca.crt}
        {{- end }}
        {{- if $service.model.image }}
        - name: models
          image: {reference: {{ $service.model.image }}, pullPolicy: {{ $values.image.pullPolicy }}}
        {{- else if $service.model.claim }}
        - name: models
          persistentVolumeClaim: {claimName: {{ $service.model.claim }}, readOnly: true}
        {{- else if $service.model.url }}
        - name: models
          emptyDir: {sizeLimit: {{ $service.model.size }}}
        {{- with $service.model.existingSecret }}
        - name: model-secret
          secret: {secretName: {{ . }}, defaultMode: 0440}
        {{- end }}
        {{- end }}
        {{- if $isSigned }}
        - name: signing
          secret: {secretName: {{ $values.signing.existingSecret }}, defaultMode: 0440}
        {{- end }}
{{- end -}}
