// The official TypeScript client as an agent's host uses it: list, read, call. Writes what it was told as JSON.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const [url, token] = process.argv.slice(2);
const client = new Client({ name: "qpubus-test", version: "0" });
const headers = { Authorization: `Bearer ${token}` };
await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } }));
const told = {
  server: client.getServerVersion()?.name,
  tools: (await client.listTools()).tools.map((tool) => tool.name),
  devices: (await client.callTool({ name: "device_list", arguments: {} })).structuredContent.devices,
  unknown: await client.callTool({ name: "job_get", arguments: { job_id: "nobody-s" } }),
  prompts: (await client.listPrompts()).prompts.map((prompt) => prompt.name),
};
await client.close();
console.log(JSON.stringify(told));
