"""Names of spans and attributes. Those of GenAI and MCP still move between releases of the conventions: here alone.

After OpenTelemetry's semantic conventions for HTTP and for generative AI (agents and MCP); ours begin with `qpubus.`.
The MCP server's own spans (`tools/call job_submit`) are named by the `mcp` package.
"""

SCOPE = "qpubus"
SERVICE = "qpubus"

HTTP_METHOD = "http.request.method"
HTTP_ROUTE = "http.route"
HTTP_STATUS = "http.response.status_code"
URL_PATH = "url.path"
URL_SCHEME = "url.scheme"
ERROR_TYPE = "error.type"

GEN_AI_AGENT_ID = "gen_ai.agent.id"

EVENT_TYPE = "qpubus.event.type"
EVENT_DIGEST = "qpubus.event.digest"
TOPIC = "qpubus.topic"
SOURCE = "qpubus.source"
SITE = "qpubus.site"
JOB_ID = "qpubus.job.id"
DEVICE = "qpubus.device"
STEP = "qpubus.step"
SHOTS = "qpubus.shots"
REASON = "qpubus.reason"
