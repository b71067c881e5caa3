{{/* What a container needs that writes or reads backups: its environment. */}}
{{- define "bowerbird.backupEnvironment" -}}
- {name: BOWERBIRD_BACKUP_URL, value: {{ .Values.backup.url | quote }}}
- {name: BOWERBIRD_BACKUP_KEEP, value: {{ .Values.backup.keep | quote }}}
{{- if .Values.backup.existingSecret }}
- {name: BOWERBIRD_BACKUP_SECRETS, value: /etc/bowerbird/backup}
{{- end }}
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
