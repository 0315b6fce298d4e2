// Starts Swagger UI from a file: an inline script is against the Content-Security-Policy.
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
});
