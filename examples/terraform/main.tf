# Reads the certificate that ci-acme keeps: by name and version, never its key. A new version is a change that plan shows.
terraform {
  required_version = ">= 1.8"
  required_providers {
    azurerm = { source = "hashicorp/azurerm", version = "~> 4.0" }
  }
}

provider "azurerm" {
  features {}
}

variable "certificate" {
  description = "Where the certificate is, as ci-acme reports the target of the store: VAULT/NAME"
  type        = string
}

variable "certificate_version" {
  description = "Its version, as ci-acme reports it"
  type        = string
}

variable "resource_group" {
  description = "Of the vault and the application"
  type        = string
  default     = "web"
}

data "azurerm_key_vault" "vault" {
  name                = split("/", var.certificate)[0]
  resource_group_name = var.resource_group
}

data "azurerm_key_vault_certificate" "web" {
  name         = split("/", var.certificate)[1]
  key_vault_id = data.azurerm_key_vault.vault.id
  version      = var.certificate_version
}

data "azurerm_container_app_environment" "web" {
  name                = "web"
  resource_group_name = var.resource_group
}

# The application fetches the key itself, with its own identity, which may read this one secret.
resource "azurerm_container_app_environment_certificate" "web" {
  name                         = "web-${substr(var.certificate_version, 0, 8)}"
  container_app_environment_id = data.azurerm_container_app_environment.web.id
  certificate_key_vault {
    key_vault_secret_id = data.azurerm_key_vault_certificate.web.versionless_secret_id
    identity            = "System"
  }
  lifecycle {
    create_before_destroy = true
  }
}

output "not_after" {
  value = data.azurerm_key_vault_certificate.web.expires
}
