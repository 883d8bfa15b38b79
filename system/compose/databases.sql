CREATE DATABASE "compose_users";
CREATE DATABASE "compose_products";
CREATE DATABASE "compose_orders";
CREATE DATABASE "compose_payments";
CREATE DATABASE "compose_notifications";
CREATE DATABASE "compose_provider";
