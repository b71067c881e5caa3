{{/* The Secrets of the buckets as folders with a file for each key, which is read again when it changes: never by
`subPath`, which the kubelet does not renew. Both take {root, backups}: whether the backups' bucket is used as well. */}}
{{- define "bowerbird.bucketMounts" -}}
{{- if .root.Values.pictures.existingSecret }}
- {name: pictures-secret, mountPath: /etc/bowerbird/pictures, readOnly: true}
{{- end }}
{{- if and .backups .root.Values.backup.existingSecret }}
- {name: backup-secret, mountPath: /etc/bowerbird/backup, readOnly: true}
{{- end }}
{{- end -}}

{{/* Their volumes. */}}
{{- define "bowerbird.bucketVolumes" -}}
{{- with .root.Values.pictures.existingSecret }}
- name: pictures-secret
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- if .backups }}
{{- with .root.Values.backup.existingSecret }}
- name: backup-secret
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- end }}
{{- end -}}
