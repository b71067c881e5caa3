{{/* Egress to the cluster's DNS, which nobody does without: a rule. */}}
{{- define "bowerbird.dnsEgress" -}}
- to: [{namespaceSelector: {}, podSelector: {matchLabels: {{ .Values.networkPolicy.dnsPodLabels | toJson }}}}]
  ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}, {port: 5353, protocol: UDP}, {port: 5353, protocol: TCP}]
{{- end -}}

{{/* Egress to the API server: a rule. */}}
{{- define "bowerbird.apiServerEgress" -}}
- ports: [{port: 443}, {port: 6443}]
  {{- with .Values.networkPolicy.apiServerCidr }}
  to: [{ipBlock: {cidr: {{ . }}}}]
  {{- end }}
{{- end -}}

{{/* A pod of the release as one end of a connection: a NetworkPolicyPeer. Takes {root, name}. */}}
{{- define "bowerbird.peer" -}}
podSelector:
  matchLabels: {{- include "bowerbird.selector" . | nindent 4 }}
{{- end -}}
