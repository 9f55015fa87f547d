"""The MCP door: what an agent's model asks, as tools, resources, prompts, tasks. No tool here can approve."""
