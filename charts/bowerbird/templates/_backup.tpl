{{/* What a container needs that writes or reads backups: its environment. */}}
{{- define "bowerbird.backupEnvironment" -}}
- {name: BOWERBIRD_BACKUP_URL, value: {{ .Values.backup.url | quote }}}
- {name: BOWERBIRD_BACKUP_KEEP, value: {{ .Values.backup.keep | quote }}}
{{- end -}}

{{/* The Secrets that it takes variables from. */}}
{{- define "bowerbird.backupVariables" -}}
{{- $from := list -}}
{{- with .Values.pictures.existingSecret -}}
{{- $from = append $from (dict "secretRef" (dict "name" .)) -}}
{{- end -}}
{{- with .Values.backup.existingSecret -}}
{{- $from = append $from (dict "prefix" "BACKUP_" "secretRef" (dict "name" .)) -}}
{{- end -}}
{{- $from | toJson -}}
{{- end -}}

{{/* Egress to the bucket of the backups: a list, empty where they lie in a volume. */}}
{{- define "bowerbird.backupEgress" -}}
{{- if hasPrefix "s3:" .Values.backup.url -}}
- ports: [{port: {{ .Values.backup.port }}}]
  {{- with .Values.backup.cidr }}
  to: [{ipBlock: {cidr: {{ . }}}}]
  {{- end }}
{{- end -}}
{{- end -}}
